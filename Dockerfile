# An image of the server. docs/operations.md, "In containers", says what it needs.
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin atatus-dash

# Packages in a separate layer, which is rebuilt only when the lock changes. All have wheels, so no compiler is needed.
COPY requirements.txt ./
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.txt

COPY manage.py pyproject.toml LICENSE ./
COPY atatus_dash atatus_dash
COPY apikeys apikeys
COPY accounts accounts
COPY templates templates
COPY static static
COPY docs/api docs/api
COPY deploy/gateways deploy/gateways
RUN SECRET_KEY=unused .venv/bin/python manage.py collectstatic --no-input --verbosity 0

USER atatus-dash
ENV BIND=0.0.0.0 PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=30s CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT [".venv/bin/python", "manage.py"]
CMD ["serve"]
