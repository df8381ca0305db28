"""Tests of `service.web.rendering`."""
