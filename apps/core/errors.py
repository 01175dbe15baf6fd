"""Errors that a caller can act on: each knows its code, its HTTP status, its words."""

from __future__ import annotations


class DomainError(Exception):
    """Something the caller asked for cannot be done."""

    code = "error"
    status = 400

    def __init__(
        self, message: str, *, fields: dict[str, list[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields or {}


class NotConfiguredError(DomainError):
    """A site's connection has no broker yet."""

    code = "not_configured"
    status = 409

    def __init__(self, site_id: int) -> None:
        super().__init__(
            f"Site {site_id} has no broker yet; set broker_host with "
            f"PUT /api/v1/mqtt/sites/{site_id}/connection/"
        )
