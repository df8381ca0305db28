"""Output formats of the ticker."""
