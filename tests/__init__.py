"""The tests mirror the tree: tests/capture/test_read.py tests workbench/capture/read.py."""
