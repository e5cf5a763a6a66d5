"""Pre-training of MetaNER: episodes from annotated sets and open text, the meta loss, the command (docs/metaner.md)."""
