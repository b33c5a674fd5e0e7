"""Encryption of text at rest, such as the secrets of second factors.

Fernet (AES-128 in CBC mode with HMAC-SHA256) with keys that HKDF-SHA256 (RFC 5869) derives from the operator's
secrets: ENCRYPTION_KEYS, newest first, then SECRET_KEY and SECRET_KEY_FALLBACKS. The first key encrypts and all
decrypt, so nothing is lost when ENCRYPTION_KEYS is set for the first time.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from .errors import DomainError

#: Encrypted text begins with this; text that an older version stored unencrypted doesn't.
PREFIX = "fernet-1:"


class Unreadable(DomainError):
    """None of the configured keys decrypts this text, or this server didn't encrypt it (400)."""


def encrypt(text: str) -> str:
    return PREFIX + MultiFernet(_fernets()).encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """Raises `Unreadable`."""
    return _decrypt(MultiFernet(_fernets()), stored)


def is_current(stored: str) -> bool:
    """Whether it is encrypted with the newest key."""
    try:
        _decrypt(_fernets()[0], stored)
    except Unreadable:
        return False
    return True


def is_encrypted(stored: str) -> bool:
    return stored.startswith(PREFIX)


def _decrypt(key: Fernet | MultiFernet, stored: str) -> str:
    if not is_encrypted(stored):
        raise Unreadable("This is not encrypted.")
    try:
        return key.decrypt(stored.removeprefix(PREFIX)).decode()
    except (InvalidToken, ValueError) as error:
        raise Unreadable("This server can no longer read what was encrypted.") from error


def _fernets() -> list[Fernet]:
    secrets = (*settings.ENCRYPTION_KEYS, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return [_fernet(secret) for secret in secrets]


@lru_cache(maxsize=32)
def _fernet(secret: str) -> Fernet:
    # These secrets are random and long, so a fast derivation is enough. A salt would have to be stored too.
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"atatus-dash: encryption at rest, 1")
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode())))
