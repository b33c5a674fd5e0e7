import re
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys import tokens

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number: int) -> str:
    digits = ""
    while number:
        number, remainder = divmod(number, 62)
        digits = BASE62[remainder] + digits
    return digits.rjust(6, "0")


keys = st.builds(tokens.generate)


@given(keys)
def test_a_key_is_forty_characters_of_the_documented_form(key: str) -> None:
    assert len(key) == 40
    assert re.fullmatch(r"\batk_[0-9A-Za-z]{36}\b", key)


@given(keys)
def test_the_last_six_characters_are_the_crc32_of_the_rest_in_base62(key: str) -> None:
    assert key[-6:] == base62(zlib.crc32(key[:-6].encode()))


@given(keys)
def test_a_generated_key_is_well_formed(key: str) -> None:
    assert tokens.is_well_formed(key)


@given(keys, st.integers(4, 39), st.sampled_from(BASE62))
def test_one_mistyped_character_fails_the_checksum(key: str, position: int, character: str) -> None:
    typo = key[:position] + character + key[position + 1 :]
    assert tokens.is_well_formed(typo) == (typo == key)


@given(keys, st.integers(0, 39))
def test_a_truncated_paste_is_not_well_formed(key: str, length: int) -> None:
    assert not tokens.is_well_formed(key[:length])


@given(st.text(max_size=60))
def test_no_other_text_is_a_well_formed_key(text: str) -> None:
    assert not tokens.is_well_formed(text)


def test_letters_and_digits_of_other_scripts_are_not_base62() -> None:
    assert not tokens.is_well_formed("atk_" + "٣" * 36)
    assert not tokens.is_well_formed(tokens.generate() + "\n")


@given(keys)
def test_the_digest_is_64_lower_case_hexadecimal_digits_and_hides_the_key(key: str) -> None:
    digest = tokens.digest(key)
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert key not in digest
    assert digest != tokens.digest(tokens.generate())


@given(keys)
def test_the_mask_shows_eight_characters_of_the_secret_part_at_most(key: str) -> None:
    assert tokens.mask(key) == f"{key[:8]}…{key[-4:]}"


@given(st.text(max_size=20), keys, st.text(max_size=20))
def test_redacting_leaves_no_key_in_a_text(before: str, key: str, after: str) -> None:
    assert key not in tokens.redact(f"{before}{key}{after}")


def test_the_scanner_pattern_finds_a_key_in_a_line_of_code() -> None:
    key = tokens.generate()
    assert re.findall(tokens.SCANNER_PATTERN, f'headers = {{"X-API-KEY": "{key}"}}') == [key]


def escaped(key: str, pattern: str) -> str:
    return "".join(pattern.format(ord(character)) for character in key)


#: A key in a text: alone, next to other characters, in upper or lower case, or escaped in ways that reveal the whole
#: key.
DISGUISES: dict[str, Callable[[str], str]] = {
    "alone": lambda key: key,
    "glued": lambda key: f"key{key}z9",
    "twice": lambda key: key + key,
    "after the beginning of another": lambda key: f"atk_{key[:20]}{key}",
    "with a capital": lambda key: key.capitalize()[:4] + key[4:],
    "in lower case": str.lower,
    "in upper case": str.upper,
    "in JSON": lambda key: f'{{"a": ["{key}"]}}',
    "with an escaped underscore": lambda key: key.replace("_", "%5f"),
    "escaped": lambda key: escaped(key, "%{:02X}"),
    "escaped twice": lambda key: escaped(key, "%25{:02x}"),
    "escaped as JSON": lambda key: escaped(key, "\\u{:04x}"),
    "escaped as JSON within JSON": lambda key: escaped(key, "\\\\u{:04X}"),
}


@given(st.text(max_size=20), keys, st.text(max_size=20))
def test_a_key_is_found_and_masked_wherever_it_is_in_a_text(before: str, key: str, after: str) -> None:
    for disguise, hide in DISGUISES.items():
        hidden = hide(key)
        text = f"{before}{hidden}{after}"
        assert tokens.is_in(text), disguise
        masked = tokens.redact(text)
        assert hidden not in masked, disguise
        assert len(masked) <= len(text), disguise
        assert not tokens.is_in(masked), disguise


def test_a_wrong_checksum_makes_no_key_but_is_masked_in_logs() -> None:
    typo = "atk_TESTtestTESTtestTESTtestTESTte0x4sVK"
    assert not tokens.is_in(typo)
    assert typo not in tokens.redact(typo)


@pytest.mark.parametrize(
    "text", ["%" + "25" * 32_000, "\\" * 65_000, ("atk_" + "a" * 35 + "%") * 1_600, "%61" * 22_000, "atk_" * 16_000]
)
def test_every_text_is_searched_quickly(text: str) -> None:
    before = time.perf_counter()
    tokens.is_in(text)
    tokens.redact(text)
    assert time.perf_counter() - before < 0.5


def test_an_unusable_digest_belongs_to_no_key_that_is_looked_up() -> None:
    text = f"\0{7}\0{'0' * 64}"
    assert tokens.unusable_digest(instead_of="0" * 64, account_id=7) == tokens.digest(text)
    assert not tokens.may_be_a_key(text)


@pytest.mark.parametrize(("length", "may"), [(15, False), (16, True), (512, True), (513, False)])
def test_a_key_that_was_created_elsewhere_has_16_to_512_characters(length: int, may: bool) -> None:
    assert tokens.may_be_a_key("x" * length) is may


@given(keys)
def test_our_own_key_is_looked_up_and_one_with_a_typo_is_not(key: str) -> None:
    assert tokens.may_be_a_key(key)
    assert not tokens.may_be_a_key(key[:-1] + ("a" if key[-1] != "a" else "b"))


@pytest.mark.parametrize("text", ["no key in it", "no key in it: atk_short"])
def test_a_text_without_a_key_is_redacted_to_itself(text: str) -> None:
    assert tokens.redact(text) == text
