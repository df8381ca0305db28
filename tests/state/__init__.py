"""Tests of `service.state`."""
