"""Polling of sources: scheduler, poller, backfill."""
