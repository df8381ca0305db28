"""Tests with hostile and faulty banks."""
