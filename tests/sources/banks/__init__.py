"""Tests of `service.sources.banks`."""
