"""Background tasks, and settings of the interpreter."""
