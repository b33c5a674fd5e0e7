"""Mail on the console, for people to read: `EMAIL_URL=consolemail://`."""

from django.core.mail import EmailMessage
from django.core.mail.backends import console


class EmailBackend(console.EmailBackend):
    """Prints a mail's text alone. Django's prints all of its parts, encoded: a link in it can't be clicked."""

    def write_message(self, message: EmailMessage) -> None:
        lines = [
            f"Subject: {message.subject}",
            f"From: {message.from_email}",
            f"To: {', '.join(message.recipients())}",
            "",
            str(message.body),
            "-" * 79,
        ]
        self.stream.write("\n".join(lines) + "\n")
