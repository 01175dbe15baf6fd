"""What our admin pages share: superusers only, and rows that nobody edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model

from apps.core.permissions import is_superuser

if TYPE_CHECKING:
    from django.http import HttpRequest


class SuperuserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at runtime
    """Deny by default: a site's visibility and control know nothing of staff rights."""

    show_full_result_count = False  # counting a large table twice is slow
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request.user)

    def has_view_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return is_superuser(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request.user)

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return is_superuser(request.user)

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return is_superuser(request.user)


class ReadOnlyAdmin(SuperuserAdmin):
    """Rows that the system writes and people read."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}
