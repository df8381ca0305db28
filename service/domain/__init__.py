"""Domain model: rates, changes, publication schedules, snapshots. Pure."""
