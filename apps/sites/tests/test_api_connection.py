"""A connection's settings over the API: what goes in, what comes out, what is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apps.core.tests.clients import client_of, is_error
from apps.sites.models import MqttConnection
from apps.sites.patterns import DEFAULT_PATTERNS
from apps.sites.services import connection_of
from apps.sites.tests.builders import running

CANARY = "CANARY-5f0c"
DEFAULTS = {
    "broker_port": 1883,
    "username": "",
    "has_password": False,
    "client_id_prefix": "",
    "protocol": "3.1.1",
    "keepalive": None,
    "clean_session": None,
    "use_tls": False,
    "tls_ca": "",
    "tls_client_cert": "",
    "has_tls_client_key": False,
    "tls_server_name": "",
}


def path_of(site) -> str:
    return f"/api/v1/mqtt/sites/{site.pk}/connection/"


@pytest.fixture
def configure(superuser, north):
    """Return a function that puts settings and returns the answer."""

    def put(method="put", **settings):
        send = getattr(client_of(superuser), method)
        return send(path_of(north), settings, format="json")

    return put


def pair(*, passphrase: bytes = b"") -> tuple[str, str]:
    """Return a self-signed certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "us")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    lock = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock)
    return certificate.public_bytes(pem).decode(), private.decode()


def test_put_needs_the_host_alone_and_answers_every_setting(configure, north):
    body = configure(broker_host="broker.example.com").json()

    connection = connection_of(north)
    assert body == DEFAULTS | {
        "site_id": north.pk,
        "connection_id": connection.pk,
        "is_enabled": False,
        "broker_host": "broker.example.com",
        "topics": [
            {"pattern": pattern, "qos": 1, "is_active": True}
            for pattern in DEFAULT_PATTERNS
        ],
    }


def test_put_resets_what_is_left_out_and_patch_leaves_it(configure):
    full = {
        "broker_host": "10.0.0.7",
        "broker_port": 8883,
        "username": " me ",
        "client_id_prefix": "plant",
        "protocol": "5",
        "keepalive": 30,
        "clean_session": True,
        "use_tls": True,
        "tls_server_name": "broker.example.com",
        "topics": [{"pattern": "#", "qos": 0, "is_active": False}],
    }
    assert full.items() <= configure(**full).json().items()

    patched = configure("patch", broker_port=1884).json()
    assert (full | {"broker_port": 1884}).items() <= patched.items()

    replaced = configure(broker_host="10.0.0.8").json()
    assert (DEFAULTS | {"broker_host": "10.0.0.8"}).items() <= replaced.items()
    assert len(replaced["topics"]) == len(DEFAULT_PATTERNS)


def test_a_password_is_kept_until_it_is_removed(configure, north):
    def stored() -> str:
        return MqttConnection.objects.get(site=north).read_password()

    answer = configure(broker_host="b.example.com", password=f" {CANARY} ")
    assert answer.json()["has_password"] is True
    assert CANARY not in answer.content.decode()
    assert stored() == f" {CANARY} "

    configure(broker_host="c.example.com")
    configure("patch", username="me")
    assert stored() == f" {CANARY} "

    assert configure("patch", password=None).json()["has_password"] is False
    assert stored() == ""

    configure("patch", password=CANARY)
    assert configure(broker_host="b.example.com", password="").status_code == 200
    assert stored() == ""


def test_a_password_is_not_stored_in_the_clear(configure, north):
    configure(broker_host="b.example.com", password=CANARY)

    assert CANARY not in str(MqttConnection.objects.values().get(site=north))


def test_a_running_connection_is_swapped(configure, north):
    before = running(north)

    configure("patch", broker_port=1884)

    after = MqttConnection.objects.get(pk=before.pk)
    assert after.generation > before.generation
    assert after.status == "connecting"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "broker.example.com",
        "broker.example.com.",
        "mqtt_broker",
        "10.0.0.7",
        "::1",
        "fe80::1",
        "münchen.example",
        "x" * 63 + ".example",
    ],
)
def test_it_takes_a_host(configure, host):
    assert configure(broker_host=host).json()["broker_host"] == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        None,
        "mqtt://broker",
        "broker/path",
        "user@broker",
        "broker:1883",
        "[::1]",
        "a b",
        "a\tb",
        "a\r\nb",
        "a\x00b",
        "a\u202eb",
        "a..b",
        "-a",
        "a-",
        "x" * 64,
        ".",
        "x." * 128,
        "bröker." + "ö" * 80,
        "a;b",
        "$(id)",
    ],
)
def test_it_refuses_what_is_no_host(configure, host):
    answer = configure(broker_host=host)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == ["broker_host"]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("broker_port", 0, "broker_port"),
        ("broker_port", 65536, "broker_port"),
        ("broker_port", 10**30, "broker_port"),
        ("broker_port", "x", "broker_port"),
        ("broker_port", None, "broker_port"),
        ("username", "x" * 256, "username"),
        ("username", "a\x00b", "username"),
        ("password", "x" * 1025, "password"),
        ("client_id_prefix", "a b", "client_id_prefix"),
        ("client_id_prefix", "x" * 51, "client_id_prefix"),
        ("protocol", "3.1", "protocol"),
        ("keepalive", 4, "keepalive"),
        ("keepalive", 3601, "keepalive"),
        ("use_tls", "maybe", "use_tls"),
        ("tls_ca", "x", "tls_ca"),
        ("tls_client_cert", "x", "tls_client_cert"),
        ("tls_client_key", "x", "tls_client_key"),
        ("tls_server_name", "a b", "tls_server_name"),
        ("topics", [], "topics"),
        ("topics", "x", "topics"),
        ("topics", [{}], "topics.0.pattern"),
        ("topics", [{"pattern": "a"}, {"pattern": "/a"}], "topics.1.pattern"),
        ("topics", [{"pattern": "a"}, {"pattern": "a"}], "topics"),
        ("topics", [{"pattern": "a#"}], "topics.0.pattern"),
        ("topics", [{"pattern": "#/a"}], "topics.0.pattern"),
        ("topics", [{"pattern": "a//b"}], "topics.0.pattern"),
        ("topics", [{"pattern": "x" * 257}], "topics.0.pattern"),
        ("topics", [{"pattern": "a", "qos": 2}], "topics.0.qos"),
        ("topics", [{"pattern": f"a{n}"} for n in range(201)], "topics"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_changes_nothing(
    configure, north, field, value, where
):
    before = MqttConnection.objects.values().get(site=north)

    answer = configure("patch", **{field: value})

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [where]
    assert MqttConnection.objects.values().get(site=north) == before


def test_a_client_certificate_comes_with_its_key(configure, north):
    certificate, key = pair()

    answer = configure(
        broker_host="b.example.com",
        use_tls=True,
        tls_ca=certificate * 2,
        tls_client_cert=certificate,
        tls_client_key=key,
    )

    assert answer.status_code == 200
    assert answer.json()["has_tls_client_key"] is True
    assert "PRIVATE" not in answer.content.decode()
    row = MqttConnection.objects.get(site=north)
    assert row.read_tls_client_key().strip() == key.strip()


def test_a_certificate_and_a_key_that_do_not_fit_are_refused(configure):
    certificate, key = pair()
    _, other_key = pair()
    _, locked_key = pair(passphrase=b"x")

    for settings in (
        {"tls_client_cert": certificate},
        {"tls_client_key": key},
        {"tls_client_cert": certificate, "tls_client_key": other_key},
        {"tls_client_cert": certificate, "tls_client_key": locked_key},
        {"tls_client_cert": certificate, "tls_client_key": certificate},
        {"tls_client_cert": key, "tls_client_key": key},
        {"tls_client_cert": certificate, "tls_client_key": ""},
    ):
        answer = configure("patch", **settings)

        assert answer.status_code == 400, settings
        assert "PRIVATE" not in answer.content.decode()
        assert set(answer.json()["fields"]) <= {"tls_client_key", "tls_client_cert"}


def test_the_stored_key_must_fit_a_new_certificate(configure):
    certificate, key = pair()
    other_certificate, other_key = pair()
    configure("patch", tls_client_cert=certificate, tls_client_key=key)

    refused = configure("patch", tls_client_cert=other_certificate)
    taken = configure(
        "patch", tls_client_cert=other_certificate, tls_client_key=other_key
    )

    assert refused.status_code == 400
    assert taken.status_code == 200


def test_a_certificate_that_goes_takes_its_key_along(configure):
    certificate, key = pair()
    configure("patch", tls_client_cert=certificate, tls_client_key=key)

    body = configure("patch", tls_client_cert="").json()

    assert (body["tls_client_cert"], body["has_tls_client_key"]) == ("", False)


def test_an_unreadable_secret_hides_nothing_else_and_can_be_replaced(
    configure, north, superuser, settings
):
    certificate, key = pair()
    configure("patch", password=CANARY, tls_client_cert=certificate, tls_client_key=key)
    settings.FIELD_ENCRYPTION_KEYS = ("CyO2h1pXK0bE6fJ3sP4qVnYt8wRzUa5dGmLxBkNeTjA=",)

    read = client_of(superuser).get(path_of(north))
    changed = configure("patch", username="me")
    refused = configure("patch", tls_client_cert=certificate)
    replaced = configure("patch", password="new")

    assert read.json()["has_password"] is True
    assert changed.status_code == 200
    assert "cannot be decrypted" in refused.json()["message"]
    assert replaced.status_code == 200
    assert MqttConnection.objects.get(site=north).read_password() == "new"
