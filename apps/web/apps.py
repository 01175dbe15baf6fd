from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "apps.web"

    def ready(self) -> None:
        # Before anything is translated: a fresh clone has no compiled catalog.
        from apps.core.translations import compile_catalogs

        compile_catalogs()
