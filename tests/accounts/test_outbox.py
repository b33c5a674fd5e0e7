"""The outbox: how mail is stored, sent, retried and given up."""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core import mail as django_mail
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import encryption, mail, outbox
from accounts.models import OutgoingMail
from tests import factories
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast
from tests.mail import delivered
from tests.servers import free_port
from tests.smtp import MailServer, mail_server

pytestmark = pytest.mark.django_db

State = OutgoingMail.State
LINK = "https://testserver/auth/password/reset/key/1-abc/"
TEXT = f"Open:\n\n{LINK}\n"


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    with mail_server() as found:
        use(settings, found.port)
        yield found


def use(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", port, 1


def add(recipient: str = "a@example.com", lifetime: timedelta = timedelta(days=1), **fields: str) -> OutgoingMail:
    outbox.add(recipient, "A subject", TEXT, **{"kind": "test", **fields}, lifetime=lifetime)
    return OutgoingMail.objects.latest("id")


def later(delta: timedelta) -> None:
    """Move all mail that is retried into the past by this time."""
    OutgoingMail.objects.update(due_at=F("due_at") - delta)


def deliver() -> int:
    with suppress(outbox.ServerUnreachable):
        return outbox.deliver()
    return -1


def test_a_mail_that_is_withdrawn_while_it_fails_stays_withdrawn() -> None:
    outgoing = add(about="invitation 1")

    class FailsMeanwhile:
        def open(self) -> None: ...

        def close(self) -> None: ...

        def send_messages(self, messages: object) -> None:
            outbox.withdraw(kind="test", about="invitation 1")
            raise ConnectionResetError("The mail server went away.")

    assert outbox._send(FailsMeanwhile(), outgoing) is False
    outgoing.refresh_from_db()
    assert outgoing.due_at is None
    assert outgoing.given_up_at is not None
    assert outgoing.text == ""


# Sending ----------------------------------------------------------------------------------------


def test_a_mail_is_sent_once_as_text_and_as_html(server: MailServer) -> None:
    outgoing = add()
    assert [deliver(), deliver()] == [1, 0]
    outgoing.refresh_from_db()
    html: Any = server.taken[0][1].get_body(("html",))

    assert server.recipients == ["a@example.com"]
    assert LINK in server.body()
    assert f'<a href="{LINK}"' in html.get_content()
    assert outgoing.state == State.SENT


def test_many_mails_are_sent_over_one_connection(server: MailServer) -> None:
    for number in range(outbox.BATCH + 5):
        add(f"a{number}@example.com")
    assert deliver() == outbox.BATCH + 5
    assert server.connections == 1


def test_a_text_is_stored_encrypted_and_only_until_it_is_sent(server: MailServer) -> None:
    outgoing = add()
    assert "reset" not in outgoing.text
    assert encryption.decrypt(outgoing.text) == TEXT
    deliver()
    outgoing.refresh_from_db()
    assert outgoing.text == ""


def test_mail_is_not_sent_if_its_cause_is_rolled_back() -> None:
    with transaction.atomic():
        add()
        transaction.set_rollback(True)
    assert not delivered()


def test_the_mail_thread_is_woken_once_a_mail_is_committed(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    outbox.pending.clear()
    with django_capture_on_commit_callbacks(execute=True):
        add()
        assert not outbox.pending.is_set()
    assert outbox.pending.is_set()


def test_a_subject_of_any_length_is_stored() -> None:
    outbox.add("a@example.com", "x\ny\x00" * 500, "", kind="test", lifetime=timedelta(days=1))
    assert OutgoingMail.objects.get().subject.startswith("x y x y")


@pytest.mark.django_db(transaction=True)
def test_several_processes_at_once_send_each_mail_once(server: MailServer) -> None:
    for number in range(40):
        add(f"a{number}@example.com")

    def process(_: int) -> int:
        try:
            return outbox.deliver()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(process, range(4))) == 40
    assert len(server.recipients) == len(set(server.recipients)) == 40


def test_a_claim_of_a_dead_process_expires(server: MailServer) -> None:
    assert outbox._claim(add())
    assert deliver() == 0
    later(outbox.CLAIM_EXPIRES_AFTER)
    assert deliver() == 1


# Failing ----------------------------------------------------------------------------------------


def test_an_unreachable_mail_server_loses_no_mail_and_is_retried_once_a_minute(settings: Settings) -> None:
    port = free_port()
    use(settings, port)
    for number in range(3):
        add(f"a{number}@example.com")
    assert deliver() == -1
    assert set(OutgoingMail.objects.values_list("tries", "error")) == {(0, "[Errno 111] Connection refused")}
    with mail_server(port) as server:
        assert deliver() == 0
        later(outbox.UNREACHABLE_DELAY)
        assert deliver() == 3
        assert len(server.taken) == 3
    assert not OutgoingMail.objects.exclude(error="").exists()


def test_a_mail_server_that_hangs_is_waited_for_once(server: MailServer) -> None:
    server.is_silent = True
    for number in range(3):
        add(f"a{number}@example.com")
    assert deliver() == -1
    assert server.connections == 1
    assert OutgoingMail.objects.due().count() == 0


def test_a_temporarily_refused_mail_is_retried_less_and_less_often(server: MailServer) -> None:
    server.replies["a@example.com"] = "451 try later"
    outgoing, waits = add(), []
    for _ in range(6):
        later(timedelta(hours=1))
        deliver()
        outgoing.refresh_from_db()
        assert outgoing.due_at
        waits.append(round((outgoing.due_at - timezone.now()).total_seconds() / 60))
    assert waits == [1, 5, 15, 60, 60, 60]
    assert (outgoing.state, outgoing.tries, outgoing.error) == (State.WAITING, 6, "451 try later")
    server.replies.clear()
    later(timedelta(hours=1))
    assert deliver() == 1


@pytest.mark.parametrize("place", ["a@example.com", "DATA"])
def test_a_permanently_refused_mail_is_given_up_with_the_reason(server: MailServer, place: str) -> None:
    server.replies[place] = "550 not here"
    outgoing = add()
    assert [deliver(), deliver()] == [0, 0]
    outgoing.refresh_from_db()
    assert (outgoing.state, outgoing.error, outgoing.due_at) == (State.GIVEN_UP, "550 not here", None)


def test_links_that_the_server_quotes_are_neither_stored_nor_logged(
    server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies["DATA"] = f"554 {LINK} is on a list"
    outgoing = add()
    deliver()
    outgoing.refresh_from_db()
    assert outgoing.error == "554 (link) is on a list"
    assert LINK not in caplog.text


def test_a_refused_sender_gives_up_no_mail(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import smtplib

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise smtplib.SMTPSenderRefused(553, b"not you", "noreply@localhost")

    outgoing = add()
    with monkeypatch.context() as patched:
        patched.setattr(smtplib.SMTP, "sendmail", refuse)
        deliver()
    outgoing.refresh_from_db()
    assert (outgoing.state, outgoing.error) == (State.WAITING, "553 not you")


def test_a_failing_mail_does_not_stop_the_others(server: MailServer) -> None:
    server.replies["refused@example.com"] = "550 no"
    server.replies["busy@example.com"] = "451 later"
    for recipient in ("refused@example.com", "busy@example.com", "odd\nname@example.com", "good@example.com"):
        add(recipient)
    broken = add("broken@example.com")
    OutgoingMail.objects.filter(pk=broken.pk).update(text="nobody can read this")
    add("last@example.com")
    assert deliver() == 2
    assert server.recipients == ["good@example.com", "last@example.com"]
    assert OutgoingMail.objects.filter(due_at__isnull=False).count() == 3


def test_mail_committed_during_a_delivery_is_sent_afterwards(server: MailServer) -> None:
    outbox.pending.set()
    deliver()
    assert outbox.pending.is_set()


# Expiry -----------------------------------------------------------------------------------------


def test_an_expired_mail_is_given_up_and_its_text_deleted(server: MailServer) -> None:
    server.replies["a@example.com"] = "451 later"
    tried = add()
    deliver()
    untried = add("b@example.com")
    OutgoingMail.objects.update(expires_at=timezone.now())
    assert deliver() == 0
    for outgoing in (tried, untried):
        outgoing.refresh_from_db()
        assert (outgoing.state, outgoing.text) == (State.GIVEN_UP, "")
    assert (tried.error, untried.error) == ("451 later", outbox.TOO_LATE)
    assert server.taken == []


def test_sent_and_given_up_mail_is_deleted_after_a_month(server: MailServer) -> None:
    add()
    deliver()
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=31))
    add("waits@example.com")
    output = StringIO()
    call_command("prune", stdout=output)
    assert "1 mails deleted" in output.getvalue()
    assert OutgoingMail.objects.get().recipient == "waits@example.com"


# Commands ---------------------------------------------------------------------------------------


def test_send_notices_sends_all_mail_and_reports_an_unreachable_server(settings: Settings) -> None:
    port = free_port()
    use(settings, port)
    add()
    with pytest.raises(CommandError, match=r"The mail server can't be reached: .*refused"):
        call_command("send_notices")
    later(outbox.UNREACHABLE_DELAY)
    output = StringIO()
    with mail_server(port):
        call_command("send_notices", stdout=output)
    assert output.getvalue() == "1 mails sent\n"


def test_reencrypt_encrypts_waiting_mail_too(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = ["o" * 40]
    outgoing, lost = add(), add("lost@example.com")
    settings.ENCRYPTION_KEYS = ["n" * 40, "o" * 40]
    OutgoingMail.objects.filter(pk=lost.pk).update(text="fernet-1:nobody can read this")
    output = StringIO()
    with pytest.raises(CommandError, match="1 can't be read"):
        call_command("reencrypt", stdout=output)
    outgoing.refresh_from_db()
    assert encryption.is_current(outgoing.text)
    assert encryption.decrypt(outgoing.text) == TEXT
    assert "mail to lost@example.com" in output.getvalue()


# Admin ------------------------------------------------------------------------------------------


@pytest.fixture
def operator(browser: Browser) -> Browser:
    return browser.as_(factories.make_operator())


LIST = reverse("admin:accounts_outgoingmail_changelist")


def test_the_operator_sees_the_state_of_a_mail_but_never_its_text(operator: Browser, server: MailServer) -> None:
    server.replies["a@example.com"] = "550 no such mailbox"
    outgoing = add()
    deliver()
    add("b@example.com")
    given_up = operator.get(LIST, {"state": "given_up"}).content.decode()
    page = operator.get(admin_url(outgoing, "change")).content.decode()

    assert "550 no such mailbox" in given_up
    assert "b@example.com" not in given_up
    assert "A subject" in page
    for html in (given_up, page):
        assert "reset/key" not in html
        assert outgoing.text not in html
    # The text can't be guessed letter by letter either.
    assert operator.get(LIST, {"text__startswith": "fernet"}).status_code in (302, 400)


@pytest.mark.parametrize(("state", "number"), [("waiting", 1), ("sent", 1), ("given_up", 1), ("odd", 3)])
def test_mail_is_listed_by_its_state(operator: Browser, server: MailServer, state: str, number: int) -> None:
    server.replies["b@example.com"] = "550 no"
    add("a@example.com")
    add("b@example.com")
    deliver()
    add("c@example.com")
    assert operator.get(LIST, {"state": state}).context["cl"].result_count == number


def test_the_operator_resends_given_up_mail_that_has_not_expired(operator: Browser, server: MailServer) -> None:
    server.replies = {"a@example.com": "550 no", "late@example.com": "550 no"}
    mails = [add("a@example.com"), add("late@example.com"), add("sent@example.com")]
    deliver()
    OutgoingMail.objects.filter(recipient="late@example.com").update(expires_at=timezone.now())
    server.replies.clear()
    chosen = {"action": "send_again", "_selected_action": [outgoing.pk for outgoing in mails]}
    told = [str(message) for message in operator.post(LIST, chosen, follow=True).context["messages"]]

    assert told[0] == "1 will be sent again"
    assert told[1].startswith("2 can't be sent again")
    deliver()
    assert server.recipients == ["a@example.com", "sent@example.com"]


@pytest.mark.parametrize(
    ("recipients", "told"),
    [
        (["a@example.com"], ["1 will be sent again"]),
        (
            ["sent@example.com"],
            ["1 can't be sent again: only mail that was given up can, and only until it expires."],
        ),
    ],
)
def test_the_operator_is_told_only_what_happened(
    operator: Browser, server: MailServer, recipients: list[str], told: list[str]
) -> None:
    server.replies = {"a@example.com": "550 no"}
    mails = [add(recipient) for recipient in recipients]
    deliver()
    chosen = {"action": "send_again", "_selected_action": [outgoing.pk for outgoing in mails]}
    assert [str(message) for message in operator.post(LIST, chosen, follow=True).context["messages"]] == told


def test_an_operator_who_may_only_view_cannot_resend(browser: Browser, server: MailServer) -> None:
    from django.contrib.auth.models import Permission

    server.replies["a@example.com"] = "550 no"
    outgoing = add()
    deliver()
    viewer = factories.give_second_factor(factories.make_user("viewer@example.com", is_staff=True))
    viewer.user_permissions.add(Permission.objects.get(codename="view_outgoingmail"))
    browser.as_(viewer).post(LIST, {"action": "send_again", "_selected_action": [outgoing.pk]})
    outgoing.refresh_from_db()
    assert outgoing.state == State.GIVEN_UP


# Pages ------------------------------------------------------------------------------------------


def test_no_page_opens_a_connection_to_the_mail_server(
    cast: Cast, browser: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("a connection"))
    use(settings, free_port())
    asked = browser.post(reverse("account_reset_password"), {"email": "owner@example.com"})
    unknown = browser.post(reverse("account_reset_password"), {"email": "nobody@example.com"})
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": factories.PASSWORD})
    another = "another battery staple"
    passwords = {"oldpassword": factories.PASSWORD, "password1": another, "password2": another}
    changed = browser.post(reverse("account_change_password"), passwords)

    assert [answer.status_code for answer in (asked, unknown, changed)] == [302, 302, 302]
    cast.owner.refresh_from_db()
    assert cast.owner.check_password(another)
    assert sorted(OutgoingMail.objects.values_list("kind", "recipient")) == [
        ("new_device", "owner@example.com"),
        ("password_changed", "owner@example.com"),
        ("password_reset_key", "owner@example.com"),
        ("unknown_account", "nobody@example.com"),
    ]


def test_a_reset_link_that_waited_in_the_outbox_works(cast: Cast, browser: Browser) -> None:
    browser.post(reverse("account_reset_password"), {"email": "owner@example.com"})
    assert django_mail.outbox == []
    found = re.search(r"https://testserver(\S+)", delivered()[0].body)
    assert found
    assert browser.get(found[1], follow=True).context["form"].fields["password1"]


def test_mail_to_several_recipients_is_sent_to_each_separately(cast: Cast) -> None:
    mail.notify(mail.member_addresses(cast.account), "account_closed", account=cast.account, until=timezone.now())
    assert sorted(message.to for message in delivered()) == [
        ["admin@example.com"],
        ["owner@example.com"],
        ["user@example.com"],
    ]
