"""Tests of `service.web.api`."""
