"""Endpoints that return data."""
