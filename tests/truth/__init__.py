"""Benchmark of validation over real history: `python -m tests.truth` (`make truth`)."""
