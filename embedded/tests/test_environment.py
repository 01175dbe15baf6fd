from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from embedded import environment, ports
from embedded.environment import EnvironmentVariableError, read_wishes

KEPT = environment.new_secrets()


def test_unset_and_empty_variables_mean_the_defaults():
    wishes = read_wishes({"PORT": "", "HOST": " "}, KEPT)

    assert (wishes.host, wishes.port, wishes.mqtt_port) == ("127.0.0.1", 8000, 1883)
    assert (wishes.flower_port, wishes.v5_port) == (5555, None)
    assert wishes.admin_username == "admin"
    assert wishes.url == "http://127.0.0.1:8000/"


@pytest.mark.parametrize("value", ["0", "65536", "-1", "x", "80 80", "８０"])
def test_a_wrong_port_is_named(value: str):
    with pytest.raises(
        EnvironmentVariableError, match=r"FLOWER_PORT='.*' is not a port"
    ):
        read_wishes({"FLOWER_PORT": value}, KEPT)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("::", "http://[::1]:8000/"),
        ("[::1]", "http://[::1]:8000/"),
        ("box.example", "http://box.example:8000/"),
    ],
)
def test_the_url_is_one_a_browser_on_this_machine_can_open(host: str, url: str):
    assert read_wishes({"HOST": host}, KEPT).url == url


def test_given_urls_are_taken_and_our_own_are_not():
    foreign = "postgres://u:p@db/x"
    own = f"redis://:{KEPT['redis_password']}@127.0.0.1:7/0"

    wishes = read_wishes({"DATABASE_URL": foreign, "REDIS_URL": own}, KEPT)

    assert (wishes.database_url, wishes.redis_url) == (foreign, "")


def test_a_taken_port_names_its_variable():
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        wishes = read_wishes({"PORT": str(port)}, KEPT)

        with pytest.raises(EnvironmentVariableError) as caught:
            environment.check_ports(wishes, with_v5=False)

    expected = f"PORT: port {port} is already in use; set PORT to another one"
    assert str(caught.value) == expected


def test_one_port_for_two_purposes_is_refused():
    first, second = ports.free_ports(2)
    values = {"PORT": first, "FLOWER_PORT": second, "MQTT_PORT": first}
    wishes = read_wishes({k: str(v) for k, v in values.items()}, KEPT)

    with pytest.raises(EnvironmentVariableError, match=r"MQTT_PORT: .* is also PORT"):
        environment.check_ports(wishes, with_v5=False)


def test_an_address_of_another_machine_names_host():
    wishes = read_wishes({"HOST": "192.0.2.1"}, KEPT)

    with pytest.raises(EnvironmentVariableError, match=r"HOST='192\.0\.2\.1' cannot"):
        environment.check_ports(wishes, with_v5=False)


def test_secrets_are_made_once_kept_and_private(tmp_path: Path):
    file = tmp_path / "secrets.json"

    made = environment.load_secrets(file)

    assert environment.load_secrets(file) == made
    assert file.stat().st_mode & 0o077 == 0
    assert len(made["FIELD_ENCRYPTION_KEYS"]) == 44  # a Fernet key


def test_a_secret_that_a_newer_version_needs_is_added(tmp_path: Path):
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"SECRET_KEY": "old"}))

    made = environment.load_secrets(file)

    assert made["SECRET_KEY"] == "old"
    assert environment.load_secrets(file) == made


def test_damaged_secrets_are_not_replaced(tmp_path: Path):
    file = tmp_path / "secrets.json"
    file.write_text("{")

    with pytest.raises(EnvironmentVariableError, match="cannot be read"):
        environment.load_secrets(file)


def test_the_users_settings_win_over_kept_secrets():
    wishes = read_wishes({"ADMIN_PASSWORD": "mine"}, KEPT)
    variables = environment.system_variables(
        wishes,
        KEPT,
        {"SECRET_KEY": "my-key", "MQTT_INSTANCE_ID": "here"},
        database_url="d",
        redis_url="r",
        mqtt_url="mqtt://h:7",
        v5_port=8,
    )

    assert variables["SECRET_KEY"] == "my-key"
    assert variables["FIELD_ENCRYPTION_KEYS"] == KEPT["FIELD_ENCRYPTION_KEYS"]
    assert variables["ADMIN_PASSWORD"] == "mine"
    assert variables["FLOWER_BASIC_AUTH"] == "admin:mine"
    assert variables["MQTT_INSTANCE_ID"] == "here"
    assert (variables["MQTT_PORT"], variables["MQTT_V5_PORT"]) == ("7", "8")


def test_tests_run_without_the_users_settings(tmp_path: Path):
    (tmp_path / ".env.example").write_text("# NEW_SETTING=3\nOTHER=1\n")
    names = ["DATABASE_URL", "MQTT_SHARDS", "DJANGO_X", "SECRET_KEY_FILE"]
    names += ["NEW_SETTING", "OTHER", "HOME"]

    left = environment.without_settings(tmp_path, dict.fromkeys(names, "x"))

    assert left == {"HOME": "x"}


def test_a_process_sees_the_venv_first_and_no_foreign_python_path():
    environ = environment.process_environ(
        Path("/r"),
        {"PATH": "/bin", "PYTHONPATH": "/x", "SECRET_KEY_FILE": "/y", "LANG": "it"},
        {"SECRET_KEY": "k"},
    )

    assert environ == {
        "PATH": "/r/.venv/bin:/bin",
        "VIRTUAL_ENV": "/r/.venv",
        "PYTHONUNBUFFERED": "1",
        "LANG": "it",
        "SECRET_KEY": "k",
    }
