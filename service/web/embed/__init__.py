"""Embedding: the strip as a page, oEmbed, and the builder."""
