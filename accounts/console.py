"""Readable mail on the console: `EMAIL_URL=consolemail://`."""

from django.core.mail import EmailMessage
from django.core.mail.backends import console


class EmailBackend(console.EmailBackend):
    """Prints only the text of a mail. Django's backend prints all parts, encoded, so that links can't be clicked."""

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
