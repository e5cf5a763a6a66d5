"""Side-by-side measurements: each program prints a table for people and one JSON line last."""
