from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "apps.core"

    def ready(self) -> None:
        # In every process: workers publish, the web process listens.
        from apps.core import sse

        sse.install()
