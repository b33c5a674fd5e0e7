"""Maintenance mode, until standard input ends. Ending it with `manage.py maintenance` would take seconds."""

import sys

import django


def main() -> None:
    django.setup()
    from atatus_dash import maintenance
    from atatus_dash.models import Maintenance

    maintenance.switch(on=True, guard=False, message=Maintenance.MESSAGE, retry_after=1)
    sys.stdin.read()
    maintenance.switch(on=False, guard=False, message=Maintenance.MESSAGE, retry_after=1)


if __name__ == "__main__":
    main()
