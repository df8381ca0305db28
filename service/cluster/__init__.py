"""Coordination of several instances: one leader polls, the followers read from the store."""
