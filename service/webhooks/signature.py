"""Sign requests by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable

from pydantic import SecretStr

from service.settings.types import SECRET_PREFIX


def signature(secrets: Iterable[SecretStr], identifier: str, timestamp: int, body: str) -> str:
    """Return the header `webhook-signature`: the HMAC-SHA256 of `identifier.timestamp.body` by each secret."""
    signed = f"{identifier}.{timestamp}.{body}".encode()
    keys = (b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX)) for secret in secrets)
    return " ".join(f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys)
