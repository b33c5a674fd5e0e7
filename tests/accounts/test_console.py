"""Mail on the console: `EMAIL_URL=consolemail://`."""

from io import StringIO

from accounts import outbox
from accounts.console import EmailBackend


def test_mail_on_the_console_is_only_its_text_with_whole_links() -> None:
    link = "https://keys.example.com/invitations/" + "x" * 90 + "/"
    message = outbox.compose("new@example.com", "An invitation", f"To accept, open:\n\n{link}\n")
    printed = StringIO()

    EmailBackend(stream=printed).send_messages([message])

    assert printed.getvalue() == (
        "Subject: An invitation\n"
        "From: Atatus Dash <noreply@localhost>\n"
        "To: new@example.com\n"
        f"\nTo accept, open:\n\n{link}\n\n" + "-" * 79 + "\n"
    )
