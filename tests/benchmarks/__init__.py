"""`make bench`: throughput, start time and memory of the service, each with a baseline of the same run."""
