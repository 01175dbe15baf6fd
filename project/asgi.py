"""What uvicorn serves."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from apps.core.asgi import StreamAwareHandler  # noqa: E402 (after django.setup)

application = StreamAwareHandler()
