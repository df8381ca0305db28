"""Banks as attackers."""
