"""Tests of `service.web.server`."""
