"""Numbers from a capture, and nothing else: pure functions from tables of counts to tables of measures.

Every `*_table` function takes a capture and a selection (sites, groups, phase) and returns a frozen dataclass with the
numbers, their labels, n, a flag for cells with few tokens, a caption of one sentence, and `.frame()` for files.
What each measure means, where it comes from and what it does not prove: docs/measures.md.
"""
