"""Sources of rates: adapters, HTTP client, parsing."""
