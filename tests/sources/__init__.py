"""One file an adapter, and what holds for all of them."""
