"""Addresses of pages that go out by mail."""

from django.http import HttpRequest
from django.urls import reverse

from . import services


def invitations(request: HttpRequest) -> services.Link:
    """Makes the address of the page that accepts an invitation, on the host that was asked."""
    return lambda token: request.build_absolute_uri(reverse("accounts:invitation", args=[token]))
