"""Tests of `service.settings`."""
