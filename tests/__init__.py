"""Tests against real things: a Valkey server, HTTP servers standing in for banks, the service as a process."""
