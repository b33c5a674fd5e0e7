"""All settings. What differs between installations comes from environment variables, listed in `variables`."""

from pathlib import Path
from typing import Any

from . import env

BASE_DIR = Path(__file__).resolve().parent.parent

# Environment ------------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret("SECRET_KEY", "insecure: only for DEBUG" if DEBUG else "")
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS")
ENCRYPTION_KEYS = env.secrets("ENCRYPTION_KEYS", shortest=32)
ALLOW_HTTP = env.flag("ALLOW_HTTP")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS")
PUBLIC_URL = env.origin("PUBLIC_URL")
GUARD_URL = env.origin("GUARD_URL") or PUBLIC_URL
TRUSTED_PROXIES = env.cidrs("TRUSTED_PROXIES")
REDIS_URL = env.redis("REDIS_URL")
SIGNUP_OPEN = env.flag("SIGNUP_OPEN")
API_DOCS = env.flag("API_DOCS")
SUDO_MINUTES = env.whole_number("SUDO_MINUTES")
SESSION_DAYS = env.whole_number("SESSION_DAYS", maximum=3650)
LIMITS_WITHOUT_REDIS = env.choice("LIMITS_WITHOUT_REDIS", ("refuse", "allow"))
API_RATE_LIMIT = env.rate("API_RATE_LIMIT")
FAILED_AUTH_LIMIT = env.rate("FAILED_AUTH_LIMIT")
GITHUB_SECRET_SCANNING_KEYS = env.github_keys("GITHUB_SECRET_SCANNING_KEYS")
WEB_CONCURRENCY = env.whole_number("WEB_CONCURRENCY", maximum=256)
THREADS = env.whole_number("THREADS", maximum=256)
# A crash loses the counts of up to this many seconds.
USAGE_FLUSH_SECONDS = env.whole_number("USAGE_FLUSH_SECONDS", maximum=600)
PORT = env.whole_number("PORT", maximum=65535)
BIND = env.address("BIND")
ACCOUNT_OWNER_PASSWORD = env.password("ACCOUNT_OWNER_PASSWORD")

_email = env.email("EMAIL_URL", BASE_DIR)
EMAIL_BACKEND: str = _email["backend"]
EMAIL_HOST: str = _email["host"]
EMAIL_PORT: int = _email["port"]
EMAIL_HOST_USER: str = _email["user"]
EMAIL_HOST_PASSWORD: str = _email["password"]
EMAIL_USE_TLS: bool = _email["tls"]
EMAIL_USE_SSL: bool = _email["ssl"]
EMAIL_FILE_PATH: str | None = _email["directory"]
# No request waits for mail, and a mail server that scans messages needs time (RFC 5321, 4.5.3.2).
EMAIL_TIMEOUT = 60
DEFAULT_FROM_EMAIL = env.sender("DEFAULT_FROM_EMAIL")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

DATABASES: dict[str, dict[str, Any]] = {"default": env.database("DATABASE_URL", BASE_DIR)}

DATABASE_CONNECT_TIMEOUT = env.whole_number("DATABASE_CONNECT_TIMEOUT", maximum=60)
DATABASE_STATEMENT_TIMEOUT = env.whole_number("DATABASE_STATEMENT_TIMEOUT", minimum=0, maximum=3600)
DATABASE_LOCK_TIMEOUT = env.whole_number("DATABASE_LOCK_TIMEOUT", minimum=0, maximum=3600)
DATABASE_IDLE_TIMEOUT = env.whole_number("DATABASE_IDLE_TIMEOUT", minimum=0, maximum=86400)
DATABASE_NETWORK_TIMEOUT = env.whole_number("DATABASE_NETWORK_TIMEOUT", minimum=0, maximum=3600)
DATABASE_KEEPALIVE_SECONDS = env.whole_number("DATABASE_KEEPALIVE_SECONDS", minimum=0, maximum=7200)

# Database ---------------------------------------------------------------------------------------

# A connection is kept as long as its thread: opening one costs more than the rest of a request.
DATABASES["default"].setdefault("CONN_MAX_AGE", None)
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "atatus_dash.backends.sqlite3"
    # IMMEDIATE, because with several writers a transaction that reads first and then writes fails.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": DATABASE_LOCK_TIMEOUT,
        **DATABASES["default"]["OPTIONS"],
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
else:
    # The time-outs of statements, locks and idle transactions apply to servers only: the backend sets them.
    DATABASES["default"]["ENGINE"] = "atatus_dash.backends.postgresql"
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": DATABASE_CONNECT_TIMEOUT,
        "tcp_user_timeout": DATABASE_NETWORK_TIMEOUT * 1000,
        "keepalives_idle": DATABASE_KEEPALIVE_SECONDS,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **DATABASES["default"]["OPTIONS"],
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": (
        {
            "BACKEND": "atatus_dash.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "atatus-json",  # version 0.1 wrote other values under "atatus"
        }
        if REDIS_URL
        else {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # It counts attempts to sign in, an entry for each address and person. When it is full, only the least
            # recently used hundredth is deleted: otherwise a flood of new entries could reset a limit.
            "OPTIONS": {"MAX_ENTRIES": 100_000, "CULL_FREQUENCY": 100},
        }
    )
}

# Application ------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "atatus_dash",
    "apikeys",
    "accounts",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "template_partials",  # {% partialdef %}, built in from Django 6 on
    "django_htmx",
    "rest_framework",
    "atatus_dash.apps.OperatorAdminConfig",  # django.contrib.admin with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "atatus_dash.apps.StaticFilesConfig",  # django.contrib.staticfiles without files that no page uses
    "django.contrib.humanize",
]

MIDDLEWARE = [
    "atatus_dash.middleware.GuardMiddleware",
    "atatus_dash.middleware.RequestIdMiddleware",
    "atatus_dash.middleware.TrustedProxiesMiddleware",
    "atatus_dash.middleware.UserAgentMiddleware",
    # Answers /v2, so that API requests skip the rest, which is for pages.
    "atatus_dash.middleware.ApiMiddleware",
    "atatus_dash.middleware.KeyInURLMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # A list of 20 keys is compressed to a sixth. Random padding hides the length from BREACH.
    "django.middleware.gzip.GZipMiddleware",
    "atatus_dash.middleware.ContentSecurityPolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "atatus_dash.middleware.HealthMiddleware",
    "atatus_dash.middleware.MaintenanceMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "atatus_dash.middleware.UserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.ActivityMiddleware",
    "accounts.middleware.TimeZoneMiddleware",
    "accounts.middleware.NoStoreMiddleware",
    # Needs the user, and reads the form before CsrfViewMiddleware does, in process_view.
    "atatus_dash.middleware.FormBodyMiddleware",
    "atatus_dash.middleware.ErrorPagesMiddleware",
]

ROOT_URLCONF = "atatus_dash.urls"
WSGI_APPLICATION = "atatus_dash.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.navigation",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_KEEP_ONLY_HASHED_FILES = True  # pages use no others, and each takes time to compress
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# People -----------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_LENGTH = 10  # at least
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": PASSWORD_LENGTH},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms.SignupForm"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = SUDO_MINUTES * 60
ACCOUNT_FORMS = {
    "signup": "accounts.signup.SignupForm",
    "change_password": "accounts.sign_in_forms.ChangePasswordForm",
    "reset_password": "accounts.sign_in_forms.ResetPasswordForm",
}
ACCOUNT_RATE_LIMITS = {
    # allauth's own limits don't distinguish known devices. `accounts.sign_in.count` counts instead: by the client's
    # address and by the person or, on a device that the person has used before, by that device only.
    "login": None,
    "login_failed": None,
    "reset_password": None,
    "sign_in": "30/m/ip",
    "sign_in_on_known_device": "30/m/key",
    "guess": "10/m/ip,5/5m/key",
    "guess_on_known_device": "5/5m/key",
    "reset": "20/m/ip",
    "reset_on_known_device": None,
    "reset_mail": "5/5m/key",
    "reset_mail_on_known_device": "5/5m/key",
    # Accounts that one person, and one address, may create at /accounts/new/.
    "new_account": "5/h/user,20/h/ip",
    # How many audit events are recorded for one person: of failures, for each kind, and of lock-outs.
    "failure_event": "10/h/key",
    "lock_out_event": "1/h/key",
}

MFA_ADAPTER = "accounts.adapter.MFAAdapter"
MFA_FORMS = {
    "activate_totp": "accounts.codes.ActivateForm",
    "authenticate": "accounts.codes.AuthenticateForm",
    "reauthenticate": "accounts.codes.ReauthenticateForm",
    "add_webauthn": "accounts.passkeys.AddForm",
    "edit_webauthn": "accounts.passkeys.EditForm",
    "authenticate_webauthn": "accounts.passkeys.AuthenticateForm",
    "login_webauthn": "accounts.passkeys.LoginForm",
    "reauthenticate_webauthn": "accounts.passkeys.ReauthenticateForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Atatus Dash"
# Codes of the step before and after are valid too, for clocks that are a little off (RFC 6238, 6).
MFA_TOTP_TOLERANCE = 1
# Signing in needs one verified address; an unverified second address must not prevent a second factor.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = ALLOW_HTTP

USERSESSIONS_TRACK_ACTIVITY = True

SESSION_ENGINE = "accounts.sessions"
# Unused sessions end after this time, or after SESSION_DAYS if that is shorter.
SESSION_COOKIE_AGE = min(SESSION_DAYS, 14) * 24 * 3600
# In the session, because another cookie would be sent with every request and could be set by others.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# Masks API keys in everything that a session stores, by us or by allauth.
SESSION_SERIALIZER = "accounts.redaction.SessionSerializer"

# HTTPS ------------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not ALLOW_HTTP
# Browsers accept a cookie with this prefix only from this host, over TLS, with Path=/ (RFC 6265bis, 4.1.3.2).
COOKIE_PREFIX = "" if ALLOW_HTTP else "__Host-"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SESSION_COOKIE_HTTPONLY = True
# A proxy may pass on the host without its port, while browsers send `Origin` with it.
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
SECURE_SSL_REDIRECT = not ALLOW_HTTP
SECURE_SSL_HOST = PUBLIC_URL.removeprefix("https://") if PUBLIC_URL.startswith("https:") else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 0 if ALLOW_HTTP else 31_536_000
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# HSTS is for this host only: subdomains and the preload list are a decision of the domain's owner.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# API --------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "atatus_dash.form_limits.BoundedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
]

#: How drf-spectacular reads serializers. `atatus_dash.api.schema` describes the rest.
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,  # fields that only one of request and response has
    "SORT_OPERATIONS": False,  # the order of `api.urls`
    "POSTPROCESSING_HOOKS": [],  # enums stay with their fields
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}

# Logs -------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "atatus_dash.logs.RequestIdFilter"},
        "not_503": {"()": "atatus_dash.logs.Not503Filter"},
    },
    "formatters": {
        "line": {
            "()": "atatus_dash.logs.RedactingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        # Logs our errors, not those of clients.
        "django.request": {"level": "ERROR", "filters": ["not_503"]},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
