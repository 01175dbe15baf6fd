"""Why a payload cannot be understood; each error's `reason` is a QuarantineReason."""

from __future__ import annotations


class PayloadError(ValueError):
    reason = ""


class JsonInvalidError(PayloadError):
    reason = "json_invalid"


class SchemaMismatchError(PayloadError):
    reason = "schema_mismatch"


class ValueInvalidError(PayloadError):
    reason = "value_invalid"


class UnknownVersionError(PayloadError):
    reason = "unknown_version"


class TooLargeError(PayloadError):
    reason = "too_large"
