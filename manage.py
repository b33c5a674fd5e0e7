#!/usr/bin/env python
"""Django's command-line entry point."""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older Python gets this message
    sys.exit("Atatus Dash needs Python 3.11 or newer; this is Python {}.{}.".format(*sys.version_info))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
