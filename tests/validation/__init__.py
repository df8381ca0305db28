"""Tests of the rules that decide which rates may be published, without any service."""
