import re
import zlib

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
def test_a_key_is_forty_characters_of_the_documented_form(key):
    assert len(key) == tokens.LENGTH == 40
    assert re.fullmatch(r"\batk_[0-9A-Za-z]{36}\b", key)


@given(keys)
def test_the_last_six_characters_are_the_crc32_of_the_rest_in_base62(key):
    assert key[-6:] == base62(zlib.crc32(key[:-6].encode()))


@given(keys)
def test_a_generated_key_is_well_formed(key):
    assert tokens.is_well_formed(key)


@given(keys, st.integers(4, 39), st.sampled_from(BASE62))
def test_one_mistyped_character_fails_the_checksum(key, position, character):
    typo = key[:position] + character + key[position + 1 :]
    assert tokens.is_well_formed(typo) == (typo == key)


@given(keys, st.integers(0, 39))
def test_a_cut_off_paste_is_not_well_formed(key, length):
    assert not tokens.is_well_formed(key[:length])


@given(st.text(max_size=60))
def test_no_other_text_is_taken_for_a_key(text):
    assert not tokens.is_well_formed(text)


def test_letters_and_digits_of_other_scripts_are_no_base62():
    assert not tokens.is_well_formed("atk_" + "٣" * 36)
    assert not tokens.is_well_formed(tokens.generate() + "\n")


@given(keys)
def test_the_digest_is_64_lower_case_hexadecimal_digits_and_hides_the_key(key):
    digest = tokens.digest(key)
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert key not in digest
    assert digest != tokens.digest(tokens.generate())


@given(keys)
def test_the_mask_shows_eight_characters_of_the_secret_part_at_most(key):
    assert tokens.mask(key) == f"{key[:8]}…{key[-4:]}"


@given(st.text(max_size=20), keys, st.text(max_size=20))
def test_redacting_leaves_no_key_in_a_text(before, key, after):
    assert key not in tokens.redact(f"{before}{key}{after}")


def test_the_scanner_pattern_finds_a_key_in_a_line_of_code():
    key = tokens.generate()
    assert re.findall(tokens.SCANNER_PATTERN, f'headers = {{"X-API-KEY": "{key}"}}') == [key]
