"""Tests of `service.polling`."""
