"""Every parser under documents that no bank would send: `python -m tests.fuzz`, for minutes."""
