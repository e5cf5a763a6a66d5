"""Tokenizers of the unified model: text, pictures with clips, and sound; what trains and measures them."""
