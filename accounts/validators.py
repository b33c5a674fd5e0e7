"""What no text that a person or a program sends may hold: secrets, and characters that can't be seen.

A line break in a name would put paragraphs and links of somebody else's into our mail; a character that turns the
direction of writing makes a name read as another.
"""

import unicodedata

from django.core.exceptions import ValidationError

from . import redaction

#: Control and format characters (those that turn the direction of writing too), separators of lines, half surrogates.
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: They join and part letters in many scripts, and emoji: alone among format characters they belong in a text.
JOINERS = "\u200c\u200d"


def no_secret(text: str) -> None:
    """Refuse a text that holds a key: it would stand in the clear, in the audit log, in mail and on pages."""
    if redaction.holds_secret(text):
        raise ValidationError("This holds an API key, which belongs where nobody reads it.", code="key")


def one_line(text: str) -> None:
    """Refuse line breaks, tabs and everything else that can't be seen."""
    for character in "" if text.isprintable() else text:
        if _is_invisible(character):
            name = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}.get(character)
            shown = name or f"a character that can't be seen (U+{ord(character):04X})"
            raise ValidationError(f"This holds {shown}: remove it.", code="invisible")


def plain_text(text: str) -> None:
    """Refuse what can't be seen, but for tabs and line breaks, as any system writes them."""
    one_line(unix_lines(text).replace("\n", "").replace("\t", ""))


def unix_lines(text: str) -> str:
    """The text with each line break as a line feed. Browsers send forms with carriage returns before them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def in_one_line(text: str) -> str:
    """The text with a space for everything that has no place in a line."""
    if text.isprintable():
        return text
    return "".join(" " if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE and character not in JOINERS


#: For fields of forms and serializers: what stands in one line, such as a name, and what may have several.
LINE = (no_secret, one_line)
TEXT = (no_secret, plain_text)
