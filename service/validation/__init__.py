"""Validation of rates: rules, comparison with other banks, quarantine. Pure."""
