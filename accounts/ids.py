"""Public ids: opaque strings with a prefix for the kind of item, such as `prj_7Kd2Qm0aXb9LsTyW`."""

import re
import secrets
import string

from django.urls import register_converter

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 16

_ID = re.compile(f"[a-z]{{3}}_[0-9A-Za-z]{{{RANDOM_LENGTH}}}", re.ASCII)


KEPT = re.compile("[0-9A-Fa-f]{24}", re.ASCII)


def new_id(prefix: str) -> str:
    """A new id: the prefix, an underscore and 16 random base62 characters (95 bits)."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))


def is_id(text: str) -> bool:
    """Whether the text has the format of our ids."""
    return _ID.fullmatch(text) is not None


def is_kept_id(text: str) -> bool:
    """Whether the text has the format of Atatus' project ids. Teams that move here can keep those."""
    return KEPT.fullmatch(text) is not None


def new_project_id() -> str:
    return new_id("prj")


def new_deployment_id() -> str:
    return new_id("dep")


def new_membership_id() -> str:
    return new_id("mbr")


def new_invitation_id() -> str:
    return new_id("inv")


def new_event_id() -> str:
    return new_id("evt")


def new_key_id() -> str:
    return new_id("key")


def new_service_id() -> str:
    return new_id("svc")


class IdConverter:
    """An id in a path. It accepts more than our ids: a wrong id means that the item is missing, not the page."""

    regex = "[0-9A-Za-z_-]{1,64}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(IdConverter, "id")
