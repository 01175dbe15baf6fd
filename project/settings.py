"""Django's settings. Everything that differs between installations is a variable.

Each variable is described in `.env.example` and the README; `project.env` names the
variable and the value when one is wrong.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import dj_database_url

from apps.core.crypto import check_keys
from project import env
from project.asset_version import asset_version
from project.email_url import EmailUrl

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

SECRET_KEY = env.secret("SECRET_KEY")
FIELD_ENCRYPTION_KEYS = check_keys(env.secret("FIELD_ENCRYPTION_KEYS"))
DEBUG = env.boolean("DEBUG", default=False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", "")

# Behind a proxy that speaks HTTPS: cookies, HSTS and redirects follow this one switch.
HTTPS_ONLY = env.boolean("HTTPS_ONLY", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [  # probes come from inside
    r"^api/v1/mqtt/health/",
    r"^metrics$",
]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS_ONLY else None
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_eventstream",
    "apps.core",
    "apps.sites",
    "apps.devices",
    "apps.telemetry",
    "apps.alerts",
    "apps.web",
    "project",
    "workers",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "apps.core.assets.Compression",
    "apps.core.assets.Assets",
    "apps.core.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
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
            ],
        },
    },
]

DATABASES = {
    "default": dj_database_url.parse(
        env.url("DATABASE_URL", ("postgresql", "postgres")),
        conn_max_age=0,  # under ASGI a request has a thread of its own
    )
}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        "connect_timeout": 5,
        # A stuck statement must end before its caller gives up (uvicorn, Celery);
        # commands that may run long set their own limit.
        # Compiling a statement (jit) takes longer than any of ours should run.
        # A worker that is cut off in a transaction holds its lease's row: nobody could
        # take over until PostgreSQL ends that session (seen for 150 s, November 2026).
        # Prepared statements (apps/core/prepared.py) are planned once a session.
        "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c jit=off "
        "-c plan_cache_mode=force_generic_plan "
        "-c idle_in_transaction_session_timeout=20000",
        # Our side of the same: a server that is gone without a word is noticed.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20000,  # ms
        "application_name": "guardiano",
    }
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.url("REDIS_URL", ("redis", "rediss"))
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# Its Redis clients are ours, see apps.core.sse.install: nothing to set but this.
EVENTSTREAM_CHANNELMANAGER_CLASS = "apps.core.sse.NoOneReads"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "web:login"
LOGIN_REDIRECT_URL = "web:sites"
LOGOUT_REDIRECT_URL = "web:login"

LANGUAGE_CODE = env.choice("LANGUAGE_CODE", "en", ("en", "it"))
LANGUAGES = [("en", "English"), ("it", "Italiano")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

# What browsers keep for ever has another address when it changes.
STATIC_URL = f"/static/{asset_version(BASE_DIR)}/"
# uPlot comes with this wheel; its Python is never imported.
_YOUPLOT = find_spec("youplot")
STATICFILES_DIRS = [
    ("vendor/uplot", str(Path(folder) / "vendor"))
    for folder in (_YOUPLOT and _YOUPLOT.submodule_search_locations) or ()
]
WHITENOISE_USE_FINDERS = True  # no collectstatic: from where they lie
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False  # no other site's scripts want our assets

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.parsing.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.core.api.exception_handler",
    "DEFAULT_THROTTLE_RATES": {"login": "60/min", "publish": "60/min"},
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=60),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ALGORITHM": "HS256",
    "UPDATE_LAST_LOGIN": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Guardiano",
    "DESCRIPTION": "Multi-site MQTT connections, devices and readings.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "ConnectionStatus": "apps.sites.models.Status",
        "ConnectionReason": "apps.sites.models.Reason",
        "QuarantineReason": "apps.telemetry.models.QuarantineReason",
        "CommandState": "apps.sites.models.CommandState",
        "CommandReason": "apps.sites.models.CommandReason",
        "OfflineCause": "apps.devices.models.OfflineCause",
        "TopicState": "apps.devices.models.TopicState",
        "SessionState": "apps.devices.models.SessionState",
        "HealthStatus": ["healthy", "unhealthy"],
        "ReadyStatus": ["ready", "unready"],
        "LiveStatus": ["alive"],
    },
}

# Seconds unless the name says otherwise.
MQTT_INSTANCE_ID = env.text("MQTT_INSTANCE_ID", socket.gethostname())
MQTT_CLEAN_SESSION = env.boolean("MQTT_CLEAN_SESSION", default=False)
MQTT_LWT_ENABLED = env.boolean("MQTT_LWT_ENABLED", default=True)
MQTT_KEEP_ALIVE = env.number("MQTT_KEEP_ALIVE", 15, low=5, high=3600)
MQTT_SHUTDOWN_TIMEOUT = env.number("MQTT_SHUTDOWN_TIMEOUT", 5, low=1, high=60)
MQTT_SHARDS = env.number("MQTT_SHARDS", 2, low=1, high=256)
# Where a worker keeps what PostgreSQL cannot take, and how much of it; 0: nowhere.
MQTT_SPOOL_DIR = env.text("MQTT_SPOOL_DIR", ".run/spool")
MQTT_SPOOL_MAX_MB = env.number("MQTT_SPOOL_MAX_MB", 1024, low=0, high=1_000_000)
RECONCILE_INTERVAL = env.number("RECONCILE_INTERVAL", 30, low=1, high=3600)
OFFLINE_CHECK_INTERVAL = env.number("OFFLINE_CHECK_INTERVAL", 30, low=1, high=3600)
TELEMETRY_RETENTION_DAYS = env.number("TELEMETRY_RETENTION_DAYS", 90, low=1, high=36500)
ROLLUP_1M_RETENTION_DAYS = env.number(
    "ROLLUP_1M_RETENTION_DAYS", 400, low=1, high=36500
)
ROLLUP_RETENTION_DAYS = env.number("ROLLUP_RETENTION_DAYS", 3650, low=1, high=36500)

# Troubles that last longer are told, peace that lasts longer ends them.
ALERT_AFTER_S = env.number("ALERT_AFTER_S", 120, low=0, high=86_400)
ALERT_CLEAR_S = env.number("ALERT_CLEAR_S", 60, low=0, high=86_400)
METRICS_TOKEN = env.secret("METRICS_TOKEN", "")

_MAIL = EmailUrl.parse(env.secret("EMAIL_URL", ""))
EMAIL_HOST, EMAIL_PORT = _MAIL.host, _MAIL.port  # no host: e-mail is not configured
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.username, _MAIL.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL.use_tls, _MAIL.use_ssl
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "guardiano@localhost")

LOG_LEVEL = env.choice(
    "LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
LOG_FORMAT = env.choice("LOG_FORMAT", "console", ("console", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {
            "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        },
        "json": {"()": "apps.core.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "propagate": False},
        # Celery's own line per task would drown the rest at 30 tasks a second.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
        "django_eventstream": {"level": "WARNING"},  # says INFO for every client
    },
}
