"""Internationalization: locales, messages, formatting."""
