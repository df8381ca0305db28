"""The HTTP interface. Tickers are served from memory; no request to the service causes one to a bank."""
