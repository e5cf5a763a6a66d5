"""Training USM: sources, prompts, mixture, loop (docs/extract.md)."""
