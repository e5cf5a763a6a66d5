"""Data of the unified model: readers of every set, captions, moving digits, the user's own folders, and the mixture that is trained on."""
