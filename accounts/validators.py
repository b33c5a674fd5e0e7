"""Validators that refuse secrets and invisible characters in text from users and programs.

A line break in a name could add paragraphs and links to our mail. A character that reverses the direction of text can
make one name look like another.
"""

import unicodedata

from django.core.exceptions import ValidationError

from . import redaction

#: Control and format characters (such as those that reverse the direction of text), line separators, surrogates.
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: Format characters that are allowed: many scripts, and emoji, need them to join and separate letters.
JOINERS = "\u200c\u200d"


def no_secret(text: str) -> None:
    """Refuse a text with an API key: it would be readable in the audit log, in mail and on pages."""
    if redaction.holds_secret(text):
        raise ValidationError("This contains an API key. Remove it: other people can read this field.", code="key")


def one_line(text: str) -> None:
    """Refuse line breaks, tabs and all other invisible characters."""
    for character in "" if text.isprintable() else text:
        if _is_invisible(character):
            name = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}.get(character)
            shown = name or f"a character that can't be seen (U+{ord(character):04X})"
            raise ValidationError(f"This contains {shown}. Remove it.", code="invisible")


def plain_text(text: str) -> None:
    """Refuse invisible characters except tabs and line breaks, in the form of any system."""
    one_line(unix_lines(text).replace("\n", "").replace("\t", ""))


def unix_lines(text: str) -> str:
    """The text with line feeds as line breaks. Browsers send carriage returns too."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def in_one_line(text: str) -> str:
    """The text with a space in place of each invisible character."""
    if text.isprintable():
        return text
    return "".join(" " if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE and character not in JOINERS


#: For fields of forms and serializers: text in one line, such as a name, and text of several lines.
LINE = (no_secret, one_line)
TEXT = (no_secret, plain_text)
