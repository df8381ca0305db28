"""Tests of `service.web.ops`."""
