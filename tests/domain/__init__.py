"""Tests of `service.domain`: fixings, changes, bounds and publication schedules."""
