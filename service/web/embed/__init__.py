"""Pages to embed, and the builder."""
