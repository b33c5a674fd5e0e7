"""`manage.py create_service`: creates a service. Only the operator can share one with every account."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from accounts import links, policy
from accounts.errors import Invalid
from apikeys import services
from apikeys.management.accounts import account_named


class Command(BaseCommand):
    help = "Create a service and print its ID, alone on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", required=True, metavar="SLUG", help="The account that the service belongs to.")
        parser.add_argument("--name", required=True, help="The service's name.")
        parser.add_argument("--shared", action="store_true", help="Give the keys of every account access to it.")

    def handle(self, *args: Any, **options: Any) -> None:
        account = account_named(options["account"])
        try:
            service = services.create_service(
                actor=policy.system(account.ref, "Command line"),
                name=options["name"].strip(),
                shared=options["shared"],
            )
        except Invalid as error:
            raise CommandError(
                "\n".join(f"--name: {' '.join(messages)}" for messages in (error.errors or {}).values())
            ) from None
        self.stdout.write(f"Service {service.name} created{', shared with every account' if service.shared else ''}")
        if settings.PUBLIC_URL:
            self.stdout.write(links.in_mail(reverse("apikeys:service", args=[account.slug, service.id])))
        self.stdout.write(service.id)
