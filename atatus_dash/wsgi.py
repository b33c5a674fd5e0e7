"""An ordinary WSGI application (PEP 3333), for `manage.py serve` and any other WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atatus_dash.settings")

application = get_wsgi_application()

from atatus_dash import heartbeat  # noqa: E402  needs the apps loaded

heartbeat.start()
