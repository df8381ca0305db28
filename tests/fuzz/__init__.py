"""Fuzzing of every parser with documents that no bank would send: `python -m tests.fuzz`."""
