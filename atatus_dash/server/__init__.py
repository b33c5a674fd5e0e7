"""The HTTP server behind `manage.py serve`: gunicorn's processes, llhttp's parser, and what stands between them.

`connection` turns bytes into requests and answers into bytes; `request` is what WSGI asks for; `worker` shares
connections out among threads and leaves without losing a request; `__main__` is the process that starts the workers.
docs/decisions/server.md tells why no server that was tried could be taken as it is.
"""
