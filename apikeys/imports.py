"""Reads keys of another system from CSV with the columns name, permission, digest, mask, expiry, access."""

import csv
import io
import re
from datetime import UTC, datetime

from django.core.exceptions import ValidationError

from accounts.errors import Invalid
from accounts.policy import KeyPermission

from . import tokens, validators
from .models import APIKey
from .services import ImportedKey

COLUMNS = ("name", "permission", "digest", "mask", "expiry", "access")
MAXIMUM_ROWS = 10_000

#: A SHA-256 digest, in lower case.
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
KEY_ITSELF = "The name or the mask is the key itself."


def read(text: str) -> list[ImportedKey]:
    """The keys of a CSV file. Raises `Invalid`, with the errors of each invalid line.

    The first line names the columns. Three are optional: mask, expiry (ISO 8601, empty for never) and access (in the
    commands' syntax, with semicolons between its entries, empty for everything).
    """
    if "\0" in text:
        raise Invalid("The file is not a text file.")
    try:
        return _read(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=None)))
    except csv.Error:
        raise Invalid("This is not CSV: a field is too long, or its quotes don't match.") from None


def _read(reader: "csv.DictReader[str]") -> list[ImportedKey]:
    given = [name.strip().lower() for name in reader.fieldnames or ()]
    if missing := [name for name in COLUMNS[:3] if name not in given]:
        raise Invalid(f"The first line must name the columns. Missing: {', '.join(missing)}.")
    if unknown := [name for name in given if name not in COLUMNS]:
        raise Invalid(f"Unknown columns: {', '.join(unknown)}.")
    reader.fieldnames = given
    keys: list[ImportedKey] = []
    errors: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(reader):
        if number >= MAXIMUM_ROWS:
            raise Invalid(f"Import at most {MAXIMUM_ROWS:,} keys at a time.")
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        sentences = _problems(values, seen)
        if sentences:
            errors[f"line {reader.line_num}"] = sentences
        else:
            keys.append(_key(reader.line_num, values))
        seen.add(values["digest"].lower())
    if errors:
        raise Invalid("Some lines can't be read.", errors=errors)
    if not keys:
        raise Invalid("The file contains no keys.")
    return keys


def _problems(values: dict[str, str], seen: set[str]) -> list[str]:
    sentences = []
    try:
        APIKey._meta.get_field("name").clean(values["name"], None)
    except ValidationError as error:
        sentences += [f"Name: {sentence}" for sentence in error.messages]
    if values["permission"] not in set(KeyPermission):
        sentences.append(f"Permission must be one of {', '.join(KeyPermission)}.")
    if DIGEST.fullmatch(values["digest"].lower()) is None:
        sentences.append("Digest must be a SHA-256 digest of 64 hexadecimal digits.")
    elif values["digest"].lower() in seen:
        sentences.append("This digest is in the file twice.")
    if is_key_itself(values["digest"].lower(), values["name"], values["mask"]):
        sentences.append(f"{KEY_ITSELF} Never put a key in this file.")
    if len(values["mask"]) > 20:
        sentences.append("Mask must have at most 20 characters and must not contain the key.")
    try:
        validators.expiry(_expiry(values["expiry"]), latest=None)
    except ValidationError as error:
        sentences += [f"Expiry: {sentence}" for sentence in error.messages]
    except (ValueError, OverflowError):
        sentences.append("Expiry must be a time such as 2027-01-31T12:00:00Z, or empty.")
    try:
        _access(values["access"])
    except ValidationError as error:
        sentences += [f"Access: {sentence}" for sentence in error.messages]
    return sentences


def is_key_itself(digest: str, *texts: str) -> bool:
    """Whether one of the texts is the key with this digest, whatever its format."""
    return digest in map(tokens.digest, texts)


def mask_of(digest: str) -> str:
    """The mask of a key that was imported without one."""
    return f"sha256:{digest[:8]}…"


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _access(text: str) -> str | None:
    # Paths contain no semicolons.
    return validators.access_of_options([entry.strip() for entry in text.split(";")] if text else [])


def _key(line: int, values: dict[str, str]) -> ImportedKey:
    return ImportedKey(
        line=line,
        name=values["name"],
        permission=KeyPermission(values["permission"]),
        digest=values["digest"].lower(),
        mask=values["mask"] or mask_of(values["digest"].lower()),
        expires_at=_expiry(values["expiry"]),
        access=_access(values["access"]),
    )
