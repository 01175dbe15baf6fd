"""Every URL of the API, every method, every person: the exact status of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import transaction
from django.urls import URLPattern, URLResolver
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import RefreshToken

from apps.alerts.models import AlertChannel
from apps.core.tests.clients import client_of, is_error
from apps.devices.discovery import topic_digest
from apps.devices.models import Datalogger, DiscoveredTopic, Gateway, SensorDevice
from apps.sites.models import Command, MqttConnection, Site
from apps.sites.tests.builders import running
from apps.telemetry.models import QuarantinedMessage, TopicMapping
from project.api_urls import urlpatterns

CANARY = "CANARY-9d41"
PEOPLE = ("anonymous", "outsider", "viewer", "operator", "superuser")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MISSING = 2**62

# What each of PEOPLE gets, by what the thing is: seen by all, by members, not there.
OPEN = (200, 200, 200, 200, 200)
LIST = (401, 200, 200, 200, 200)
READ = {
    "north": (401, 200, 200, 200, 200),
    "hidden": (401, 404, 200, 200, 200),
    "missing": (401, 404, 404, 404, 404),
}
CONTROL = {
    "north": (401, 403, 403, 200, 200),
    "hidden": (401, 404, 403, 200, 200),
    "missing": (401, 404, 404, 404, 404),
}
ADMINISTER = {
    "north": (401, 403, 403, 403, 200),
    "hidden": (401, 404, 403, 403, 200),
    "missing": (401, 404, 404, 404, 404),
}
ADMINISTER_NEW = {
    target: tuple(201 if status == 200 else status for status in row)
    for target, row in ADMINISTER.items()
}
DISCOVER = ADMINISTER | {
    "north": (401, 403, 403, 403, 202),
    "hidden": (401, 404, 403, 403, 202),
}
CREATE = (401, 403, 403, 403, 201)
UPLOAD = {
    "north": (401, 403, 403, 403, 415),
    "hidden": (401, 404, 403, 403, 415),
    "missing": (401, 404, 404, 404, 404),
}
# Whom alerts are sent to is for superusers to know, whatever the site.
LIST_ADMINISTER = (401, 403, 403, 403, 200)
SUPERVISE = {
    "north": LIST_ADMINISTER,
    "hidden": LIST_ADMINISTER,
    "missing": (401, 403, 403, 403, 404),
}
# 400: the topic is outside of the site, so that nothing is sent.
PUBLISH = {
    "north": (401, 403, 403, 403, 400),
    "hidden": (401, 404, 403, 403, 400),
    "missing": (401, 404, 404, 404, 404),
}


@dataclass(frozen=True)
class Route:
    """Who gets what for each method that an address has."""

    methods: dict[str, Any]
    query: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    is_public: bool = False


LOGIN = {"username": "superuser", "password": "pw-superuser-1"}
MAPPING = {"version": 7, "values": [{"path": "$.t", "key": "t"}]}
BROKER = {"broker_host": "broker.example.com"}
CHANNEL = {"kind": "email", "name": "Duty", "target": "duty@example.com"}
ROUTES = {
    "auth/token/": Route({"POST": OPEN}, body=LOGIN, is_public=True),
    # 401: the body holds no refresh token that is valid, whoever asks.
    "auth/token/refresh/": Route(
        {"POST": (401,) * 5}, body={"refresh": "x"}, is_public=True
    ),
    "schema/": Route({"GET": OPEN}, is_public=True),
    "docs/": Route({"GET": OPEN}, is_public=True),
    "sites/": Route({"GET": LIST, "POST": CREATE}, body={"name": "New"}),
    "sites/<int:site_id>/": Route(
        {"GET": READ, "PATCH": ADMINISTER, "DELETE": ADMINISTER}
    ),
    "mqtt/health/": Route({"GET": OPEN}, is_public=True),
    "mqtt/health/live/": Route({"GET": OPEN}, is_public=True),
    "mqtt/health/ready/": Route({"GET": OPEN}, is_public=True),
    "mqtt/connections/": Route({"GET": LIST}),
    "mqtt/connections/<int:connection_id>/enable/": Route({"POST": CONTROL}),
    "mqtt/connections/<int:connection_id>/disable/": Route({"POST": CONTROL}),
    "mqtt/sites/<int:site_id>/connection/": Route(
        {"GET": ADMINISTER, "PUT": ADMINISTER, "PATCH": ADMINISTER},
        body=BROKER,
    ),
    "mqtt/sites/<int:site_id>/start/": Route({"POST": CONTROL}),
    "mqtt/sites/<int:site_id>/stop/": Route({"POST": CONTROL}),
    "mqtt/sites/<int:site_id>/restart/": Route({"POST": CONTROL}),
    "mqtt/sites/<int:site_id>/status/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/events/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/gaps/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/messages/watch/": Route({"POST": READ}),
    "mqtt/sites/<int:site_id>/publish/": Route(
        {"POST": PUBLISH}, body={"topic": "else/where", "message": "x"}
    ),
    # 400: the settings to try are none, so that nothing is tried.
    "mqtt/sites/<int:site_id>/test/": Route({"POST": PUBLISH}, body={"broker_port": 0}),
    "mqtt/sites/<int:site_id>/resubscribe/": Route({"POST": CONTROL}),
    "mqtt/sites/<int:site_id>/mappings/": Route(
        {"GET": READ, "POST": ADMINISTER_NEW}, body=MAPPING
    ),
    # 400: nothing says which payload to try.
    "mqtt/sites/<int:site_id>/mappings/preview/": Route({"POST": PUBLISH}),
    "mqtt/sites/<int:site_id>/mappings/<int:mapping_id>/": Route(
        {"GET": READ, "PATCH": ADMINISTER, "DELETE": ADMINISTER}
    ),
    "mqtt/sites/<int:site_id>/quarantine/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/quarantine/replay/": Route({"POST": ADMINISTER}),
    "mqtt/sites/<int:site_id>/quarantine/<int:message_id>/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/discover/": Route(
        {"GET": READ, "POST": DISCOVER, "DELETE": ADMINISTER}
    ),
    "mqtt/sites/<int:site_id>/topics/": Route({"GET": READ}),
    "mqtt/sites/<int:site_id>/topics/<int:topic_id>/": Route(
        {"GET": READ, "PATCH": ADMINISTER, "DELETE": ADMINISTER}
    ),
    "mqtt/sites/<int:site_id>/commands/": Route({"GET": CONTROL}),
    "mqtt/sites/<int:site_id>/commands/<int:command_id>/": Route({"GET": CONTROL}),
    "mqtt/alerts/": Route({"GET": READ}, query="?site_id=<int:site_id>"),
    "mqtt/alerts/channels/": Route(
        {"GET": LIST_ADMINISTER, "POST": CREATE}, body=CHANNEL
    ),
    "mqtt/alerts/channels/<int:channel_id>/": Route(
        {"GET": SUPERVISE, "PATCH": SUPERVISE, "DELETE": SUPERVISE}
    ),
    "mqtt/alerts/channels/<int:channel_id>/test/": Route({"POST": SUPERVISE}),
    "mqtt/gateways/": Route({"GET": READ}, query="?site_id=<int:site_id>"),
    "mqtt/dataloggers/": Route({"GET": READ}, query="?site_id=<int:site_id>"),
    "mqtt/gateways/<int:gateway_id>/": Route({"GET": READ, "PATCH": ADMINISTER}),
    "mqtt/dataloggers/<int:datalogger_id>/": Route({"GET": READ, "PATCH": ADMINISTER}),
    "mqtt/dataloggers/<int:datalogger_id>/uptime/": Route({"GET": READ}),
    "mqtt/dataloggers/<int:datalogger_id>/presence/": Route({"GET": READ}),
    "mqtt/sensors/<int:sensor_id>/": Route({"GET": READ, "PATCH": ADMINISTER}),
    "mqtt/sensors/by_datalogger": Route(
        {"GET": READ}, query="?datalogger_id=<int:datalogger_id>"
    ),
    "mqtt/sensors/by_datalogger/": Route(
        {"GET": READ}, query="?datalogger_id=<int:datalogger_id>"
    ),
    "mqtt/sensors/<int:sensor_id>/readings/": Route({"GET": READ}),
    "mqtt/sensors/<int:sensor_id>/changes/": Route({"GET": READ}),
    "mqtt/dataloggers/<int:datalogger_id>/history/": Route({"GET": READ}),
    # 415: the body of these tests is JSON, not CSV.
    "mqtt/dataloggers/<int:datalogger_id>/history/import/": Route({"POST": UPLOAD}),
}
DELETED = 204


def filled_in(address: str, ids: Mapping[str, int]) -> str:
    return re.sub(r"<int:(\w+)_id>", lambda found: str(ids[found[1]]), address)


def path_of(address: str, ids: Mapping[str, int]) -> str:
    """Return the path of an address, and its query, about the things with these ids."""
    return "/api/v1/" + filled_in(address + ROUTES[address].query, ids)


def send(client: APIClient, method: str, path: str, body: dict[str, Any]) -> Any:
    return client.generic(
        method, path, json.dumps(body), content_type="application/json"
    )


def all_addresses(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from all_addresses(pattern.url_patterns, f"{prefix}{pattern.pattern}")
        elif isinstance(pattern, URLPattern):
            yield f"{prefix}{pattern.pattern}"


def ids_of(site: Site) -> dict[str, int]:
    """Give the site one of everything, and return their ids."""
    now = timezone.now()
    datalogger = Datalogger.objects.create(site=site, type="monstro", number="15")
    rows = {
        "site": site,
        "connection": running(site),
        "gateway": Gateway.objects.create(site=site, number="1"),
        "datalogger": datalogger,
        "sensor": SensorDevice.objects.create(datalogger=datalogger, key="t_ext"),
        "command": Command.objects.create(site=site, payload_size=0, expires_at=now),
        "mapping": TopicMapping.objects.create(
            site=site, version=9, values=MAPPING["values"]
        ),
        "message": QuarantinedMessage.objects.create(
            site=site,
            topic="t",
            payload=b"",
            payload_size=0,
            qos=0,
            retain=False,
            reason="json_invalid",
        ),
        "topic": DiscoveredTopic.objects.create(
            site=site,
            topic="t",
            digest=topic_digest("t"),
            first_seen=now,
            last_seen=now,
            last_payload=b"",
        ),
        "channel": AlertChannel.objects.create(site=site, **CHANNEL),
    }
    return {kind: row.pk for kind, row in rows.items()}


@pytest.fixture
def targets(north: Site, hidden: Site) -> dict[str, dict[str, int]]:
    ids = ids_of(north)
    missing = dict.fromkeys(ids, MISSING)
    return {"north": ids, "hidden": ids_of(hidden), "missing": missing}


@pytest.fixture
def people(
    outsider: User, viewer: User, operator: User, superuser: User
) -> dict[str, User | None]:
    users = (None, outsider, viewer, operator, superuser)
    return dict(zip(PEOPLE, users, strict=True))


def wanted_status(route: Route, method: str, person: str, target: str) -> int:
    if method not in route.methods:
        return 401 if person == "anonymous" and not route.is_public else 405
    row = route.methods[method]
    status = (row[target] if isinstance(row, dict) else row)[PEOPLE.index(person)]
    return DELETED if method == "DELETE" and status == 200 else status


@pytest.fixture(autouse=True)
def _nobody_has_tried_yet():
    cache.clear()  # the login's throttle


def test_no_address_of_the_api_is_missing_here():
    assert set(ROUTES) == set(all_addresses(urlpatterns))


@pytest.mark.usefixtures("nobody_waits")
@pytest.mark.parametrize("target", ["north", "hidden", "missing"])
@pytest.mark.parametrize("person", PEOPLE)
def test_everybody_gets_exactly_what_is_theirs(person, target, people, targets):
    client = client_of(people[person])
    wanted, got = {}, {}

    for address, route in ROUTES.items():
        path = path_of(address, targets[target])
        for method in METHODS:
            wanted[method, address] = wanted_status(route, method, person, target)
            with transaction.atomic():
                answer = send(client, method, path, route.body)
                transaction.set_rollback(True)
            got[method, address] = answer.status_code
            if answer.status_code >= 400 and address not in ("schema/", "docs/"):
                assert is_error(answer.json()), (method, path, answer.json())

    assert got == wanted


def test_a_list_holds_only_what_its_reader_may_see(people, targets):
    seen = {
        person: [
            len(client_of(people[person]).get(f"/api/v1/{address}").json()[name])
            for address, name in (
                ("sites/", "sites"),
                ("mqtt/connections/", "connections"),
                ("mqtt/dataloggers/", "dataloggers"),
            )
        ]
        for person in PEOPLE[1:]
    }

    assert seen == {
        "outsider": [1, 1, 1],
        "viewer": [2, 2, 2],
        "operator": [2, 2, 2],
        "superuser": [2, 2, 2],
    }


@pytest.mark.parametrize(
    "address", [one for one, route in ROUTES.items() if "<int:" in one + route.query]
)
def test_it_says_404_to_any_number_that_is_no_id(address, superuser, targets):
    client = client_of(superuser)
    method = next(iter(ROUTES[address].methods))

    for number in (0, 2**31, 2**63 - 1, 2**63, 10**40):
        answer = client.generic(
            method, path_of(address, dict.fromkeys(targets["missing"], number))
        )

        assert answer.status_code == 404, (number, answer.content)


def test_it_refuses_a_token_of_a_user_who_was_disabled(viewer, north):
    client = client_of(viewer)
    viewer.is_active = False
    viewer.save()

    answer = client.get("/api/v1/sites/")

    assert answer.status_code == 401
    assert is_error(answer.json())


@pytest.mark.parametrize("token", ["", "x", "Bearer", "Bearer x", "Bearer a.b.c"])
def test_it_refuses_a_token_that_is_none(token, north):
    client = client_of(None)
    client.credentials(HTTP_AUTHORIZATION=token)

    answer = client.get("/api/v1/sites/")

    assert answer.status_code == 401
    assert is_error(answer.json())


def test_it_refuses_a_refresh_token_as_access_token(viewer):
    client = client_of(None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {RefreshToken.for_user(viewer)}")

    assert client.get("/api/v1/sites/").status_code == 401


@pytest.mark.parametrize("person", PEOPLE)
def test_no_answer_and_no_log_holds_a_brokers_password(
    person, people, targets, superuser, caplog
):
    for site_id in (targets["north"]["site"], targets["hidden"]["site"]):
        answer = client_of(superuser).patch(
            f"/api/v1/mqtt/sites/{site_id}/connection/",
            {"password": CANARY, "username": "broker-user"},
            format="json",
        )
        assert answer.status_code == 200
    sealed = MqttConnection.objects.values_list("password_encrypted", flat=True)
    secrets = [CANARY, *sealed]
    client = client_of(people[person])
    caplog.set_level("DEBUG")

    for address, route in ROUTES.items():
        for target in ("north", "hidden"):
            path = path_of(address, targets[target])
            for method in ("GET", "PUT", "POST", "OPTIONS"):
                answer = send(client, method, path, route.body | BROKER)
                body = answer.content.decode()
                assert not [secret for secret in secrets if secret in body], path
                if person != "superuser":
                    assert "broker-user" not in body, path

    assert not [secret for secret in secrets if secret in caplog.text]
