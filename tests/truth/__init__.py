"""Benchmark of validation on real history: `python -m tests.truth` (`make truth`)."""
