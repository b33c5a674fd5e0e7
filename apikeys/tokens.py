"""The format, checksum, digest and mask of keys. Pure. No other module knows the format.

A key is `atk_`, 30 random base62 characters and 6 base62 characters of the CRC-32 of the others: 40
characters, which one double-click selects and which `SCANNER_PATTERN` finds in a leak.

The digest is one round of SHA-256 and not a password hash: 178 bits from the system's random source
can't be guessed however fast the hash is, and the check runs on every request (OWASP ASVS 5.0, 6.5.2).
It doesn't use `SECRET_KEY`, so changing `SECRET_KEY` invalidates no key.
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

#: For secret scanners: matches every key in a text.
SCANNER_PATTERN = r"\batk_[0-9A-Za-z]{36}\b"

#: The length of an imported key.
FOREIGN_MINIMUM, FOREIGN_MAXIMUM = 16, 512

_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)

# A character that may have been escaped several times: `%5F`, `%255F` and `\\u005f` are all `_`.
_ESCAPE = r"(?:%(?:25){0,8}|\\{1,8}(?:u00|x))"
_PREFIX = "".join(rf"(?:{letter}|{_ESCAPE}(?:{ord(letter):x}|{ord(letter.upper()):x}))" for letter in PREFIX)
_BASE62 = rf"(?:[0-9a-z]|{_ESCAPE}(?:3[0-9]|[46][1-9a-f]|[57][0-9a]))"

# A key within other text: next to any characters, in upper or lower case, and with any of its characters escaped. Only
# the prefix contains a `_`, so no match hides the beginning of another.
_LIKE_A_KEY = re.compile(f"{_PREFIX}{_BASE62}{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII | re.IGNORECASE)
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{2}})", re.ASCII | re.IGNORECASE)


def generate() -> str:
    """A new key. Only the return value contains it."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether this could be one of our keys. A typo or a truncated paste fails here, without a query."""
    return _KEY.fullmatch(key) is not None and _checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def may_be_a_key(text: str) -> bool:
    """Whether the text may be a key, so that it is worth a query.

    An imported key can be any visible ASCII characters without our prefix.
    """
    if text.startswith(PREFIX):
        return is_well_formed(text)
    return FOREIGN_MINIMUM <= len(text) <= FOREIGN_MAXIMUM and text.isascii() and text.isprintable()


def digest(key: str) -> str:
    """The stored digest of a key: SHA-256 of the whole key, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def unusable_digest(*, instead_of: str, account_id: int) -> str:
    """A digest that matches no key, always the same for the same arguments.

    It is the digest of a text with NULs, and such a text is never looked up (`may_be_a_key`).
    """
    return digest(f"\0{account_id}\0{instead_of}")


def mask(key: str) -> str:
    """What people see of a key, such as `atk_9fKx…Q2aZ`: enough to tell keys apart, useless as a credential."""
    return f"{key[: len(PREFIX) + 4]}…{key[-4:]}"


def is_in(text: str) -> bool:
    """Whether the text contains a key, even next to other characters, escaped, or in upper or lower case.

    The checksum of an all-lower-case key, as in stored e-mail addresses, can't be verified. It counts as a key,
    because the checksum lets an attacker recover the case of its letters by trying.
    """
    return _may_hold_one(text) and any(_is_key(found.group()) for found in _LIKE_A_KEY.finditer(text))


def redact(text: str) -> str:
    """The text with every key masked, even a key with a typo, because the typo would be easy to correct."""
    if not _may_hold_one(text):
        return text
    return _LIKE_A_KEY.sub(lambda found: mask(_unescaped(found.group())), text)


def _may_hold_one(text: str) -> bool:
    """Whether a search is worthwhile: a text without the prefix and without escapes contains no key."""
    return "%" in text or "\\" in text or PREFIX in text.lower()


def _is_key(found: str) -> bool:
    secret = _unescaped(found)[len(PREFIX) :]
    return secret in (secret.lower(), secret.upper()) or is_well_formed(PREFIX + secret)


def _unescaped(found: str) -> str:
    return _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), found)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        value, remainder = divmod(value, len(ALPHABET))
        digits = ALPHABET[remainder] + digits
    return digits
