"""MetaNER: extraction from an instruction and a few examples, with no training step (docs/metaner.md)."""
