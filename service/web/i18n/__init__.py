"""Locales, messages, formatting."""
