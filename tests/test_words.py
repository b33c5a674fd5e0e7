"""Words: no text uses a banned phrase, and the button, toast, event and service of one thing share its verb."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from accounts.audit import Event

from .servers import ROOT

#: Phrases that no text may use, and what to write instead. `*` at an end stands for any ending.
BANNED = {
    "all who rule": "Owners and Admins",
    "any more": "no longer",
    "as it stands above": "exactly as shown",
    "everybody's own choice": "no longer required",
    "from its next request on": "immediately",
    "from the next request on": "on the next request",
    "from their next click on": "immediately",
    "give it a longer life": "extend it",
    "heir": "new owner",
    "in vain": "without success",
    "is on its way": "was sent",
    "let* go": "release",
    "lies upon": "is on",
    "look into your mail": "check your e-mail",
    "made elsewhere": "of another system",
    "make a key": "create a key",
    "make a new key": "create a new key",
    "make an account": "create an account",
    "make an API key": "create an API key",
    "make project": "create project",
    "key is made": "key is created",
    "key was made": "key was created",
    "keys are made": "keys are created",
    "keys were made": "keys were created",
    "account is made": "account is created",
    "made by": "created by",
    "no key fits": "no keys match",
    "no one's": "has no Owner",
    "nobody's": "of no one in particular",
    "none such": "not found",
    "of ours": "our own, or the name of the thing",
    "one who": "a user who",
    "opens nothing": "no longer works, has no access",
    "stay* shut": "can't be opened",
    "that which": "what, or the name of the thing",
    "there is no such": "not found",
    "tick": "select",
    "ticked": "selected",
    "travels in addresses": "is sent in URLs",
    "unticked": "cleared",
    "we are at work": "down for maintenance",
    "we hope": "you (or someone else)",
    "what all keys have": "default",
    "whoever": "anyone who",
    "you may not open this": "you don't have access",
}
FOLDERS = ("accounts", "apikeys", "atatus_dash", "deploy", "docs", "static/js", "templates", ".github")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "compose.yaml", "Dockerfile")
SUFFIXES = {"", ".py", ".html", ".txt", ".md", ".js", ".yaml", ".yml", ".cfg", ".conf", ".lua"}
EVERY_PHRASE = re.compile(
    "|".join(rf"(?<!\w){re.escape(phrase)}(?!\w)".replace(r"\*", r"\w*") for phrase in sorted(BANNED, key=len)[::-1]),
    re.IGNORECASE,
)


def phrases_in(text: str) -> list[str]:
    """The banned phrases of a text, also over the end of a line. Markdown's italics count as quotation marks."""
    quoted = re.sub(r"(?<!\*)\*(?!\s)[^*\n]+\*", "", text)
    running = re.sub(r"\s+(#:?\s|\* |//\s)?\s*", " ", quoted)
    return [match[0].lower() for match in EVERY_PHRASE.finditer(running)]


def files() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", *FOLDERS, *PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if "migrations" not in name and "vendor" not in name and Path(name).suffix in SUFFIXES:
            yield ROOT / name


@pytest.mark.parametrize("phrase", BANNED)
def test_a_banned_phrase_is_found_wherever_it_stands(phrase: str) -> None:
    said = phrase.replace("*", "s")
    for text in (f"A sentence with {said}, and more.", f"    # One. {said.replace(' ', chr(10) + '    # ', 1)}\n"):
        assert phrases_in(text.capitalize()) == [said.lower()]
    assert phrases_in(f"Write the field's word, not *{said}*.") == []


def test_no_text_uses_a_banned_phrase() -> None:
    found = {str(path.relative_to(ROOT)): phrases_in(path.read_text()) for path in files()}

    assert len(found) > 300
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


# Verbs ------------------------------------------------------------------------------------------

#: Past tense and participle of the verbs that don't just add -ed. A new verb of a service belongs here if it doesn't.
IRREGULAR = {
    "leave": ("left", "left"),
    "reset": ("reset", "reset"),
    "send": ("sent", "sent"),
    "withdraw": ("withdrew", "withdrawn"),
}
#: Where the words differ from the service's verb, and why.
SERVICE_OF_EVENT = {
    "account.created": {"add"},  # the same service gives the account its Owner: `member.added`
    "api_key.created": {"save"},  # `save_new`, for a new key and for a successor
    "api_key.exposed": {"flag"},  # the program exposed it; the service records that
    "api_key.widened": {"change"},  # a change that grants more
    "invitation.sent": {"resend"},  # the first sending is `member.invited`
    "member.added": {"create"},  # the Owner of a new account
    "member.joined": {"accept"},  # an invitation
    "ownership.taken": {"accept"},  # the name in the log is older than the service's
    "service.widened": {"change"},
}
WORDS_OF_EVENT = {
    "account.resumed": "resumed",
    "deployment.created": "recorded",  # a deployment happened elsewhere; this is its record
    "ownership.taken": "accepted",
    "api_key.exposed": "marked",  # the server didn't expose it
}
TOASTS = {
    "change_account": ("saved", "required", "changed"),
    "change_api_key": ("changes saved",),
    "change_project": ("changes saved",),
    "change_service": ("changes saved",),
    "create_deployment": ("recorded",),
    "resend_invitation": ("sent",),
    "withdraw_ownership": ("withdrawn", "declined"),  # by the Owner; by the member
}
BUTTONS = {
    "change_account": ("save changes", "require two-factor"),  # the key policy's form is on the same page
    "change_api_key": ("save changes",),
    "change_project": ("save changes",),
    "change_service": ("save changes",),
    "create_api_key": ("create",),
    "create_deployment": ("record",),
}


def past(verb: str) -> str:
    return IRREGULAR[verb][0] if verb in IRREGULAR else f"{verb}{'d' if verb.endswith('e') else 'ed'}"


def participle(verb: str) -> str:
    return IRREGULAR[verb][1] if verb in IRREGULAR else past(verb)


class Function(NamedTuple):
    name: str
    node: ast.FunctionDef

    @property
    def verb(self) -> str:
        return self.name.partition("_")[0]

    def names(self, of: str) -> set[str]:
        """Attributes of a name that the function's body uses, such as `Event.API_KEY_CREATED`."""
        return {
            node.attr
            for node in ast.walk(self.node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == of
        }

    def texts(self, of: str) -> list[str]:
        """The texts, without what is filled in, of calls such as `messages.success`."""
        calls = [node for node in ast.walk(self.node) if isinstance(node, ast.Call)]
        texts = [call.args[1] for call in calls if ast.unparse(call.func) == of]
        return [
            "".join(
                part.value for part in ast.walk(text) if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            for text in texts
        ]

    @property
    def templates(self) -> list[str]:
        strings = [node.value for node in ast.walk(self.node) if isinstance(node, ast.Constant)]
        return [text for text in strings if isinstance(text, str) and text.endswith(".html")]


def functions(*folders: str) -> list[Function]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    nodes = [node for path in paths for node in ast.parse(path.read_text()).body]
    return [Function(node.name, node) for node in nodes if isinstance(node, ast.FunctionDef)]


SERVICES = functions("accounts/services", "apikeys/services")
VIEWS = functions("accounts/views", "apikeys/views")
#: A service that changes something takes its actor as a keyword argument.
NAMES = {service.name for service in SERVICES if "actor" in [arg.arg for arg in service.node.args.kwonlyargs]}


def services_of(view: Function) -> set[str]:
    return (view.names("services") | view.names("actions")) & NAMES


RECORDING = sorted(
    (Event[name], service.name)
    for service in SERVICES
    for name in service.names("Event") & set(Event.__members__)
    if not service.name.startswith("_")
)
TOASTING = [
    (view, name, toast)
    for view in VIEWS
    for name in sorted(services_of(view))
    for toast in view.texts("messages.success")
]


def test_the_tables_of_services_and_toasts_are_not_empty() -> None:
    assert len(RECORDING) > 25
    assert len(TOASTING) > 20


@pytest.mark.parametrize(("event", "service"), RECORDING, ids=str)
def test_an_event_has_the_verb_of_its_service(event: Event, service: str) -> None:
    verb = service.partition("_")[0]
    assert event.endswith(participle(verb)) or verb in SERVICE_OF_EVENT.get(event, ()), f"wanted: {participle(verb)}"


@pytest.mark.parametrize("event", [event for event, _ in RECORDING], ids=str)
def test_an_event_is_read_with_its_verb(event: Event) -> None:
    verbs = {past(service.partition("_")[0]) for other, service in RECORDING if other == event}
    first = event.words.split()[0]
    wanted = {*verbs, event.rpartition(".")[2], WORDS_OF_EVENT.get(event)}
    assert first in wanted


@pytest.mark.parametrize(("view", "service", "toast"), TOASTING, ids=lambda value: getattr(value, "name", str(value)))
def test_a_toast_has_the_verb_of_its_service_and_no_full_stop(view: Function, service: str, toast: str) -> None:
    wanted = TOASTS.get(service, (participle(service.partition("_")[0]),))
    assert any(word in toast.lower() for word in wanted), f"wanted: {wanted}"
    assert not toast.endswith(".") or toast.count(". ") > 0


def buttons(template: str) -> list[str]:
    """The text of the last button of a page, including its components."""
    html = re.sub(r"\{%.*?%\}", "", (ROOT / "templates" / template).read_text())
    included = re.findall(r'submit="([^"]+)"', (ROOT / "templates" / template).read_text())
    found = re.findall(r'<button class="btn btn-(?!quiet)\w+">(.*?)</button>', html)
    return [*included, *found]


@pytest.mark.parametrize(
    ("service", "template"),
    sorted({(name, view.templates[-1]) for view, name, _ in TOASTING if view.templates}),
)
def test_a_button_has_the_verb_of_its_service(service: str, template: str) -> None:
    wanted = BUTTONS.get(service, (service.partition("_")[0],))
    shown = " / ".join(buttons(template)).lower()
    assert any(word in shown for word in wanted), shown
