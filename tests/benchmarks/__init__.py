"""`make bench`: the speed, the start and the memory of the service, each beside a baseline of the same run."""
