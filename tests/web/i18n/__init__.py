"""Tests of `service.web.i18n`."""
