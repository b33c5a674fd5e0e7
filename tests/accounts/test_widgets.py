"""Form controls of our own."""

from django import forms
from django.test import SimpleTestCase

from accounts.widgets import LongSelect

CHOICES = [("", "Same as <browser>"), ("Europe", [("Europe/Rome", "Rome"), ('"Odd" & more', "<Odd>")])]


def test_a_long_select_is_the_same_html_as_djangos() -> None:
    for value in ("", "Europe/Rome", '"Odd" & more', "unknown", None):
        for attrs in ({}, {"class": "form-select", "autofocus": True, "placeholder": False}):
            ours, djangos = (
                kind(choices=CHOICES, attrs={"id": "zone"}).render("time_zone", value, attrs)
                for kind in (LongSelect, forms.Select)
            )
            SimpleTestCase().assertHTMLEqual(ours, djangos)
