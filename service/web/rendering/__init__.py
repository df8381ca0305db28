"""Rendering of tickers: options, output formats, page cache."""
