"""The currency ticker: official rates polled, changes computed, a strip served."""

__version__ = "0.1.0"
