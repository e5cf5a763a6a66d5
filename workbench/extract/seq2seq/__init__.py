"""What generating engines share: a base that can copy, decoding under a constraint, weights on disk, the training loop (docs/uie.md)."""
