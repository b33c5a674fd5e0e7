"""The HTTP server of `manage.py serve`: gunicorn's processes, llhttp's parser, and the code between them.

`connection` turns bytes into requests and answers into bytes. `request` builds WSGI's environ. `worker` serves
connections with threads and stops without losing a request. `__main__` is the process that starts the workers.
docs/decisions/server.md says why no existing server was used.
"""
