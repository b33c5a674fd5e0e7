"""Text that the database holds only encrypted, such as the secrets of second factors.

Fernet (AES-128 in CBC mode with HMAC-SHA256) under a key that HKDF-SHA256 (RFC 5869) derives from one of the
operator's secrets: from each of ENCRYPTION_KEYS, newest first, then from SECRET_KEY and SECRET_KEY_FALLBACKS.
The first encrypts and all decrypt, so that setting ENCRYPTION_KEYS for the first time loses nothing.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from .errors import DomainError

#: What encrypted text begins with, by which it differs from text that was stored before there was encryption.
PREFIX = "fernet-1:"


class Unreadable(DomainError):
    """No key that is set decrypts this, or it is not what we stored (400)."""


def encrypt(text: str) -> str:
    return PREFIX + MultiFernet(_fernets()).encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """Raises `Unreadable`."""
    return _decrypt(MultiFernet(_fernets()), stored)


def is_current(stored: str) -> bool:
    """Whether it is encrypted under the newest key."""
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
    # A fast derivation is right for random secrets of this size; a salt would have to be stored beside them.
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"atatus-dash: encryption at rest, 1")
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode())))
