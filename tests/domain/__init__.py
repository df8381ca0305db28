"""Tests of what is published and when, without any service."""
