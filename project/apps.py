from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self) -> None:
        # Makes our Celery app the current one in every process, web included.
        from project import celery  # noqa: F401
