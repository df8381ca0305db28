"""A simulated year of the service without an operator."""
