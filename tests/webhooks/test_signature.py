"""The signature is that of the Standard Webhooks specification."""

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256

from pydantic import SecretStr

from service.webhooks.signature import signature
from tests.support.receiver import OTHER_SECRET, SECRET


def test_example_of_the_specification() -> None:
    """Secret, identifier, time and signature of the reference implementation's own test."""
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = '{"test": 2432232314}'
    signed = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_signs() -> None:
    """So a receiver verifies by the old or by the new one while they are exchanged."""
    secrets = [SecretStr(OTHER_SECRET), SecretStr(SECRET)]
    first, second = signature(secrets, "id", 5, "body").split(" ")
    for secret, signed in zip((OTHER_SECRET, SECRET), (first, second), strict=True):
        key = b64decode(secret.removeprefix("whsec_"))
        assert signed == f"v1,{b64encode(hmac.new(key, b'id.5.body', sha256).digest()).decode()}"
