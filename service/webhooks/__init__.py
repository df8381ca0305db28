"""Webhooks: record events, and deliver them to receivers."""
