"""Decide which rates may be published: rules, comparison with other banks, quarantine. Pure."""
