"""What an instance holds in memory, and publishes."""
