"""What comes in, and its bounds: bodies, query parameters, numbers and times."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, NoReturn

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser

if TYPE_CHECKING:
    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request

MAX_BODY_BYTES = 1_000_000  # a connection with three PEM fields is under 300 kB


class BodyTooLargeError(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"

    def __init__(self, most: int = MAX_BODY_BYTES) -> None:
        super().__init__(_("The body is larger than %d bytes") % most)


class JsonParser(BaseParser):
    """Strict JSON of bounded size.

    DRF's own parser reads any length, and answers 500 to deep nesting: the standard
    library raises RecursionError there, which is no ValueError.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Mapping[Any, Any]:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLargeError
        try:
            return json.loads(body, parse_constant=_no_constant)  # type: ignore[no-any-return]
        except (ValueError, RecursionError) as error:
            raise ParseError(_("The body is not JSON: %s") % error) from error


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


class FormatIsOurs(DefaultContentNegotiation):
    """Leave `?format=` and Accept to the view: DRF would answer 404 and 406."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


def read_query(
    schema: type[serializers.Serializer[Any]], request: Request
) -> dict[str, Any]:
    """Return the query parameters as the schema says; raise the 400 that names them.

    An empty parameter counts as not given, so `?site_id=&search=` asks for all.
    """
    given = {name: text for name, text in request.query_params.items() if text}
    form = schema(data=given)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


class UtcTimeField(serializers.DateTimeField):
    """A time in UTC, written with `Z`, whatever zone the request has activated.

    Reading, an offset whose '+' a client forgot to encode (it arrives as a space) is
    understood.
    """

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 (DRF's options)
        super().__init__(default_timezone=UTC, **kwargs)

    def to_internal_value(self, value: Any) -> Any:  # noqa: ANN401 (DRF's signature)
        if isinstance(value, str):
            value = re.sub(r"(T\S+) (\d\d:?\d\d)\Z", r"\1+\2", value)
        return super().to_internal_value(value)


class FiniteFloatField(serializers.FloatField):
    """A float that JSON can say: DRF reads the text "NaN" as a number."""

    default_error_messages = {
        "infinite": gettext_lazy("A finite number is required"),
    }

    def to_internal_value(self, data: Any) -> float:  # noqa: ANN401 (DRF's signature)
        value = float(super().to_internal_value(data))
        if not math.isfinite(value):
            self.fail("infinite")
        return value


class TrueOrFalseField(serializers.BooleanField):
    """JSON's own true and false; DRF also takes "off", "no" and 0."""

    def to_internal_value(self, data: Any) -> bool:  # noqa: ANN401 (DRF's signature)
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field(
    {"oneOf": [{"type": "number"}, {"type": "string"}], "nullable": True}
)
class ValueField(serializers.Field[Any, Any, Any, Any]):
    """What a sensor said: a number, or a text; null if it said nothing yet."""

    def to_representation(self, value: float | str | None) -> float | str | None:
        return value


def iso_z(moment: datetime) -> str:
    """Return an aware time in UTC as text with `Z`, microseconds if there are any."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
