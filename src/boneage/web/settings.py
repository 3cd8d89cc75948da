"""Django's settings, derived from `Configuration`, which reads the environment."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from boneage.web.configuration import Configuration
from boneage.web.languages import languages
from boneage.web.privacy import logging_settings
from boneage.words import LOCALE

CONFIGURATION = Configuration.from_environment()
"""The installation's own settings, for this package: ``django.conf.settings.CONFIGURATION``."""

_HERE = Path(__file__).parent

SECRET_KEY = CONFIGURATION.secret_key or secrets.token_urlsafe(64)
DEBUG = False
ALLOWED_HOSTS = CONFIGURATION.all_hosts
ROOT_URLCONF = "boneage.web.urls"
WSGI_APPLICATION = "boneage.web.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "web.User"
USE_TZ = True
TIME_ZONE = CONFIGURATION.time_zone

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "csp",
    "axes",
    "ninja",
    "boneage.web.apps.WebConfig",
    "boneage.web.node.apps.NodeConfig",
]

MIDDLEWARE = [
    "boneage.web.middleware.AccessLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "boneage.web.middleware.PrivacyHeaders",
    "boneage.web.middleware.ClientAddress",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "boneage.web.middleware.LimitedBody",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "boneage.web.middleware.ProxyLogin",
    "boneage.web.middleware.SessionUse",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "boneage.web.context.service",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static", "boneage.web.templatetags.ages"],
        },
    }
]

# --- database and queue -----------------------------------------------------------------------------------------------


def database_of(configuration: Configuration) -> dict[str, Any]:
    """Return an entry of Django's ``DATABASES``."""
    if configuration.database:
        return {**dj_database_url.parse(configuration.database, conn_max_age=600, conn_health_checks=True)}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": configuration.store / "boneage.sqlite3",
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            "timeout": 10,  # then it is `database_busy`
            # A transaction that writes takes the lock at its beginning: one that first reads cannot be rejected later.
            "transaction_mode": "IMMEDIATE",
            # What is deleted is overwritten, so that no radiograph can be read from the file afterwards.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
        },
    }


DATABASES = {"default": database_of(CONFIGURATION)}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["radiographs"]}}

# --- languages --------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = languages()
LOCALE_PATHS = [LOCALE]
USE_I18N = True

# --- static files -----------------------------------------------------------------------------------------------------


def _fingerprint() -> str:
    """Return a fingerprint of the static files, so that browsers may cache them and still see a new version at once."""
    digest = hashlib.sha256()
    for path in sorted((_HERE / "static").rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


STATIC_URL = f"/static/{_fingerprint()}/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_MAX_AGE = 31_536_000
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # radiographs live in the database
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# --- uploads ----------------------------------------------------------------------------------------------------------

FILE_UPLOAD_HANDLERS = ["boneage.web.cases.uploads.LimitedUpload"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 60
DATA_UPLOAD_MAX_NUMBER_FILES = 1

# --- accounts ---------------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 15}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "boneage.web.accounts.passwords.GuessableValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "cases"
SESSION_ENGINE = "boneage.web.accounts.sessions"
SESSION_COOKIE_AGE = CONFIGURATION.session_hours * 3600
SESSION_SAVE_EVERY_REQUEST = False
AXES_HANDLER = "boneage.web.accounts.login_guard.LoginGuard"  # the limits stand there
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # the announced 15 minutes hold
AXES_USERNAME_CALLABLE = "boneage.web.accounts.access.name_digest"
AXES_CLIENT_IP_CALLABLE = "boneage.web.accounts.access.network_of"
AXES_DISABLE_ACCESS_LOG = True  # the audit log says it
AXES_LOCKOUT_CALLABLE = "boneage.web.views.accounts.locked_out"
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False
AXES_RESET_ON_SUCCESS = True
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code", "next"]

# --- safety -----------------------------------------------------------------------------------------------------------

if CONFIGURATION.is_https:
    # Browsers take these names from this very host alone, over https, for all paths: no other host can plant one.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME, LANGUAGE_COOKIE_NAME = "__Host-session", "__Host-csrf", "__Host-language"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = SESSION_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = CONFIGURATION.is_https
CSRF_TRUSTED_ORIGINS = ["{0.scheme}://{0.netloc}".format(urlsplit(CONFIGURATION.url))]
CSRF_FAILURE_VIEW = "boneage.web.views.errors.csrf_failure"
SECURE_SSL_REDIRECT = CONFIGURATION.is_https
SECURE_REDIRECT_EXEMPT = [r"^health(/live|/ready)?$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if CONFIGURATION.is_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = CONFIGURATION.is_https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIGURATION.proxy else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "upgrade-insecure-requests": CONFIGURATION.is_https,
    }
}

# --- log --------------------------------------------------------------------------------------------------------------

LOGGING = logging_settings(is_json=CONFIGURATION.log_format == "json", with_access=CONFIGURATION.access_log)
