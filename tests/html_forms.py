"""The fields that a browser would send for a form, hidden inputs included."""

from html.parser import HTMLParser
from typing import Any


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        self._area: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({})
        if not self.forms:
            return
        fields, name = self.forms[-1], given.get("name")
        if tag == "input" and name and given.get("type") not in ("submit", "file", "button"):
            is_box = given.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in given:
                fields.setdefault(name, []).append(given.get("value", "on" if is_box else ""))
        elif tag == "textarea" and name:
            self._area = name
            fields[name] = [""]
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select and (self._select not in fields or "selected" in given):
            fields[self._select] = [given.get("value", "")]

    def handle_endtag(self, tag: str) -> None:
        self._area = None if tag == "textarea" else self._area
        self._select = None if tag == "select" else self._select

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1][self._area][0] += data


def filled(response: Any, field: str, **changes: str | None) -> dict[str, Any]:
    """The form that has the field, with these changes. None leaves a field out, like a cleared check box.

    Line ends are sent as CRLF, and a newline right after `<textarea>` is not part of it (HTML, 4.10.22 and 13.2.6).
    """
    parser = _Forms()
    parser.feed(response.content.decode())
    form = next(form for form in parser.forms if field in form)
    sent: dict[str, Any] = {name: [value.removeprefix("\n") for value in values] for name, values in form.items()}
    sent |= {name: [value] for name, value in changes.items() if value is not None}
    for name in (name for name, value in changes.items() if value is None):
        sent.pop(name, None)
    return {
        name: [value.replace("\r\n", "\n").replace("\n", "\r\n") for value in values] for name, values in sent.items()
    }
