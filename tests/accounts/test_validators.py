"""Text with invisible characters or keys is refused."""

import unicodedata

import pytest
from django.core.exceptions import ValidationError

from accounts import validators

#: Well formed, and the same in every process, because test names contain it.
SECRET = "atk_TESTtestTESTtestTESTtestTESTte0x4sVJ"

#: Every kind of line break, control characters, and characters that reverse the direction of text or are invisible.
INVISIBLE = [
    *("\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"),
    *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u061c"),
    *("\u200b", "\u2060", "\ufeff", "\u00ad", "\U000e0041"),
]
NAMES = ["Acme & Söhne", "会社", "نمی\u200cخواهم", "👩\u200d🚀 Crew", "a\u00a0b", "O’Brien «x»"]


@pytest.mark.parametrize("character", INVISIBLE)
def test_a_name_has_no_invisible_characters(character: str) -> None:
    with pytest.raises(ValidationError, match="This contains a"):
        validators.one_line(f"Acme{character}Inc")
    assert validators.in_one_line(f"Acme{character}Inc") == "Acme Inc"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_be_in_any_script(name: str) -> None:
    validators.one_line(name)
    assert validators.in_one_line(name) == name


@pytest.mark.parametrize("character", [character for character in INVISIBLE if character not in "\n\r\t"])
def test_a_text_of_several_lines_may_have_only_line_breaks_and_tabs(character: str) -> None:
    validators.plain_text("a\n\tb\r\nc\rd")
    with pytest.raises(ValidationError, match=r"U\+"):
        validators.plain_text(f"a\n{character}")


def test_the_error_names_the_character_to_remove() -> None:
    for text, named in [("a\nb", "a line break"), ("a\tb", "a tab"), ("a\u202eb", "U+202E")]:
        with pytest.raises(ValidationError, match=named.replace("+", r"\+")):
            validators.one_line(text)


def test_every_control_character_is_refused() -> None:
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(character) in (
            *("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"),
        ):
            assert validators.in_one_line(character) == " ", hex(number)


@pytest.mark.parametrize("text", [SECRET, f"x{SECRET}y", SECRET.lower(), f"?api_key={SECRET.replace('_', '%5F')}"])
def test_a_text_with_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="This contains an API key"):
        validators.no_secret(text)
