"""Filters of all pages."""

import re

import pytest
from django.utils.html import escape
from hypothesis import given
from hypothesis import strategies as st

from accounts.templatetags.ui import highlight


@given(st.text())
def test_highlighted_code_has_the_same_text_and_no_markup_of_its_own(code: str) -> None:
    assert re.sub(r'<span class="[csk]">|</span>', "", highlight(code)) == escape(code)


@pytest.mark.parametrize(
    ("code", "html"),
    [
        ("curl <URL>", '<span class="k">curl</span> &lt;URL&gt;'),
        ('x = "a\\"b"', 'x = <span class="s">&quot;a\\&quot;b&quot;</span>'),
        ("# not a call", '<span class="c"># not a call</span>'),
    ],
)
def test_words_strings_and_comments_are_highlighted(code: str, html: str) -> None:
    assert highlight(code) == html


def test_what_the_reader_replaces_is_marked() -> None:
    assert highlight("get prj_1 and prj_1", ["prj_1"]) == "get <mark>prj_1</mark> and <mark>prj_1</mark>"
