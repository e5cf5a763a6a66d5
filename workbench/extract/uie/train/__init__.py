"""Training UIE: prompts and targets, objectives, the run (docs/uie.md)."""
