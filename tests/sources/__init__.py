"""Tests of `service.sources`: one module per adapter, and a contract for all of them."""
