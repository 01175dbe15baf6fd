"""The API against its own description, with values nobody would think of.

Schemathesis makes requests from the OpenAPI document, right and wrong ones. Whatever
comes: no 500, no status and no body that the document does not name, no wrong data
that is taken. docs/api.md has the command for a run against a live system.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from rest_framework_simplejwt.tokens import RefreshToken
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.test_permissions import ids_of

EXAMPLES = 3  # of each operation, beside the boundaries; a live run makes far more

# Not here: `positive_data_acceptance`, since no schema can say which names are time
# zones or which hosts exist; and a health that is not well answers 503 by contract.
# The cast is only asked for when the first case is made, too late for a database.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_waits")]

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


described = SchemaGenerator().get_schema(request=None, public=True)
api = schemathesis.openapi.from_dict(json.loads(json.dumps(described)))
api.app = get_wsgi_application()


@pytest.fixture
def token(superuser) -> str:
    return str(RefreshToken.for_user(superuser).access_token)


@pytest.fixture
def known(north) -> dict[str, int]:
    """Ids of things that are there."""
    return {f"{name}_id": value for name, value in ids_of(north).items()}


@pytest.fixture(autouse=True)
def _one_connection() -> Any:
    """Keep the test's transaction open across requests, as Django's own client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@api.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_answers_as_described(case, token, known):
    ids = case.path_parameters or {}
    if case.meta is None or case.meta.generation.mode.is_positive:
        case.path_parameters = {name: known.get(name, ids[name]) for name in ids}
    cache.clear()  # throttles are another matter
    with transaction.atomic():
        # This client asks for gzip by itself, and cannot read it without a server.
        response = case.call(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
        )
        transaction.set_rollback(True)
    assert response.status_code != 500, response.text
    case.validate_response(response, checks=CHECKS)
