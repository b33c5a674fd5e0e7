"""Requests to the pages of Django admin."""

from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from .conftest import Browser


def admin_url(item: Any, page: str) -> str:
    """The URL of an item's page. Admin reads `_3A` in an id as a colon unless the id is quoted."""
    options = item._meta
    arguments = [quote(item.pk)] if page in ("change", "delete", "history") else []
    return reverse(f"admin:{options.app_label}_{options.model_name}_{page}", args=arguments)


def act(desk: Browser, action: str, *items: Any, **confirmed: str) -> Any:
    sent = {"action": action, "_selected_action": [item.pk for item in items], **confirmed}
    return desk.post(admin_url(items[0], "changelist"), sent, follow=True)


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]
