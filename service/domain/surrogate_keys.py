"""Surrogate keys: names of groups of responses that a cache purges together. Pure."""

from collections.abc import Mapping

from service.settings import HttpSettings


def ticker_key(ticker: str) -> str:
    """Return the key of all responses that show a ticker."""
    return f"ticker-{ticker}"


def source_key(source: str) -> str:
    """Return the key of all responses that show publications of a source."""
    return f"source-{source}"


def surrogate_headers(settings: HttpSettings, *keys: str) -> Mapping[str, str]:
    """Return the headers that give a response its keys, for Fastly, Varnish and Cloudflare; none if disabled."""
    return {"Surrogate-Key": " ".join(keys), "Cache-Tag": ",".join(keys)} if settings.surrogate_keys else {}
