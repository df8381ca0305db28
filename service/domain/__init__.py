"""What is published, and when: rates, changes, publication days, tickers. Pure."""
