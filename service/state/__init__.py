"""In-memory state of an instance, selection of rates, and publication of snapshots."""
