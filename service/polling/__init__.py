"""Polling of sources: when, what, and backfills."""
