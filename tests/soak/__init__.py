"""`make soak`: check that memory, open files and latency do not grow under changing load."""
