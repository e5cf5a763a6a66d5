"""The pages: each parses its state, calls the library and draws; the numbers and pictures are made below."""
