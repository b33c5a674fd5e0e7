"""The key itself: its format, checksum, digest and mask. Pure: nothing else knows how a key looks.

A key is `atk_`, 30 random base62 characters and 6 base62 characters of the CRC-32 of what precedes: 40
characters, which one double-click selects and which `SCANNER_PATTERN` finds in a leak.

The digest is one round of SHA-256 and not a password hash: 178 bits from the system's random source
can't be guessed however fast the hash is, and the check runs on every request (OWASP ASVS 5.0, 6.5.2).
It depends on no `SECRET_KEY`, so that changing that one kills no key.
"""

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "atk_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30
CHECKSUM_LENGTH = 6
LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH

#: For secret scanners: matches every key in a text.
SCANNER_PATTERN = r"\batk_[0-9A-Za-z]{36}\b"

#: How long a key may be that was made elsewhere and imported by its digest.
FOREIGN_MINIMUM, FOREIGN_MAXIMUM = 16, 512

# Unlike the scanners' pattern, also where letters stand before it, as in a percent-encoded address.
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


def generate() -> str:
    """A new key. It exists nowhere but in what this returns."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether this could be one of our keys: a typo or a cut-off paste fails here, without the database."""
    return _KEY.fullmatch(key) is not None and _checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def may_be_a_key(text: str) -> bool:
    """Whether it is worth asking the database.

    Keys that were imported have a form of their own, of visible ASCII characters and without our prefix.
    """
    if text.startswith(PREFIX):
        return is_well_formed(text)
    return FOREIGN_MINIMUM <= len(text) <= FOREIGN_MAXIMUM and text.isascii() and text.isprintable()


def digest(key: str) -> str:
    """What is stored of a key: SHA-256 of the whole of it, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def mask(key: str) -> str:
    """What people see of a key, such as `atk_9fKx…Q2aZ`: enough to tell keys apart, useless to open anything."""
    return f"{key[: len(PREFIX) + 4]}…{key[-4:]}"


def is_in(text: str) -> bool:
    """Whether a key stands somewhere in the text."""
    return any(is_well_formed(found) for found in _KEY.findall(text))


def redact(text: str) -> str:
    """The text with every key in it masked."""
    return _KEY.sub(lambda found: mask(found.group()), text)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        value, remainder = divmod(value, len(ALPHABET))
        digits = ALPHABET[remainder] + digits
    return digits
