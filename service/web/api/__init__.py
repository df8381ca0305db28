"""Data endpoints: tickers, history, receipts, sources, event stream."""
