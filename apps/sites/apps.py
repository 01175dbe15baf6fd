from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SitesConfig(AppConfig):
    name = "apps.sites"
    verbose_name = _("Sites and connections")

    def ready(self) -> None:
        from apps.sites import signals  # noqa: F401 (registers the receiver)
