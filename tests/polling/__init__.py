"""Tests of `service.polling.lifecycle`."""
