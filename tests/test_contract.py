"""Every call that programs rely on, on data that simulated devices really published."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from embedded.broker import Broker
from project.broker_url import BrokerUrl
from tests.mqtt import Peer
from tests.system import WEB, System, until
from workers.fleet.crew import Pace, mass_crews
from workers.fleet.engine import Engine
from workers.fleet.link import LinkOptions

pytestmark = pytest.mark.system

SITE = {"id", "name", "code", "timezone", "latitude", "longitude", "visibility"}
CONNECTION = {
    *("broker_host", "broker_port", "username", "client_id_prefix", "protocol"),
    *("keepalive", "clean_session", "use_tls", "tls_ca", "tls_client_cert"),
    *("tls_server_name", "topics"),
}
STATUS = {
    *("connection_id", "site_id", "site_name", "is_enabled", "status", "broker_host"),
    *("broker_port", "last_connected_at", "last_heartbeat_at", "connection_errors"),
    *("error_message", "handler_running", "handler_connected", "retry_count"),
    *("subscribed_topics", "topics_list", "reason", "next_retry_at", "shard", "owner"),
    *("last_message_at", "counters"),
}
DATALOGGER = {
    *("id", "site_id", "serial_number", "label", "is_online", "firmware_version"),
    *("sensors_count", "uptime_percentage"),
}
SENSOR = {
    *("id", "label", "sensor_type", "is_online", "current_value", "unit_of_measure"),
}
TOPIC = {
    *("topic", "first_seen", "last_seen", "message_count", "last_payload"),
    *("content_type", "state"),
}


@pytest.fixture(scope="module")
def site(system: System, broker: Broker) -> Iterator[dict[str, Any]]:
    """A connected site with four simulated dataloggers that publish."""
    made = system.make_site("Contract", broker.port)
    system.connect(made)
    pace = Pace(data_every_s=0.5, interval_s=30)
    crews = mass_crews([made["code"]], devices=4, sensors=2, pace=pace, seed=1)
    links = LinkOptions(BrokerUrl.parse(broker.url), run="contract")
    engine = Engine(crews, links)
    thread = Thread(target=engine.run)
    thread.start()
    try:
        until(lambda: is_complete(system, made), "all dataloggers have sent values")
        yield made
    finally:
        engine.stop()
        thread.join(10)
        system.stop_site(made)


def is_complete(system: System, site: dict[str, Any]) -> bool:
    """Return whether four dataloggers have both their sensors: births come first."""
    found = loggers(system, site)
    path = "mqtt/sensors/by_datalogger/?datalogger_id="
    return len(found) == 4 and all(
        len(system.call("GET", f"{path}{logger['id']}")["sensors"]) == 2
        for logger in found
    )


def loggers(system: System, site: dict[str, Any]) -> list[dict[str, Any]]:
    found = system.call("GET", f"mqtt/dataloggers/?site_id={site['id']}&online_only=1")
    return [row for row in found["dataloggers"] if row["serial_number"]]


def test_sites_and_connections(system: System, site: dict[str, Any]):
    assert system.call("GET", "sites/")["sites"][0].keys() >= SITE
    assert system.call("GET", f"sites/{site['id']}/").keys() >= SITE
    settings = system.call("GET", f"mqtt/sites/{site['id']}/connection/")
    assert settings.keys() >= CONNECTION
    assert "password" not in settings
    assert settings["topics"][0].keys() >= {"pattern", "qos", "is_active"}

    status = system.call("GET", f"mqtt/sites/{site['id']}/status/")
    assert status.keys() >= STATUS
    assert status["status"] == "connected"
    assert status["handler_running"] is status["handler_connected"] is True
    assert status["subscribed_topics"] == len(status["topics_list"]) > 0
    assert f"{site['code']}/gateway/+/heartbeat" in status["topics_list"]
    everything = system.call("GET", "mqtt/connections/")["connections"]
    assert all(row.keys() >= STATUS for row in everything)
    [event, *_] = system.call("GET", f"mqtt/sites/{site['id']}/events/")["events"]
    assert event.keys() >= {"at", "old_status", "new_status", "reason", "detail"}


def test_start_stop_enable_and_disable_answer_in_the_documents_words(
    system: System, broker: Broker
):
    own = system.make_site("Words", broker.port)
    number = own["id"]
    connection = system.status(own)["connection_id"]
    started = {
        "success": True,
        "message": f"Site {number} enabled. "
        "Connection will be started by the monitor shortly.",
    }
    stopped = {
        "success": True,
        "message": f"Site {number} disabled. "
        "Connection will be stopped by the monitor shortly.",
    }

    assert system.call("POST", f"mqtt/sites/{number}/start/") == started
    assert system.call("POST", f"mqtt/sites/{number}/stop/") == stopped
    assert system.call("POST", f"mqtt/connections/{connection}/enable/") == started
    assert system.call("POST", f"mqtt/connections/{connection}/disable/") == stopped


def test_devices_and_their_history(system: System, site: dict[str, Any]):
    [logger, *_] = loggers(system, site)
    assert logger.keys() >= DATALOGGER
    assert logger["is_online"] is True
    assert logger["firmware_version"] == "V.5.53.0"
    assert logger["sensors_count"] == 2
    found = system.call("GET", f"mqtt/dataloggers/?search={logger['serial_number']}")
    assert [row["id"] for row in found["dataloggers"]] == [logger["id"]]
    detail = system.call("GET", f"mqtt/dataloggers/{logger['id']}/")
    assert detail.keys() >= DATALOGGER

    for slash in ("", "/"):
        path = f"mqtt/sensors/by_datalogger{slash}?datalogger_id={logger['id']}"
        sensors = system.call("GET", path)["sensors"]
        assert len(sensors) == 2
        assert all(sensor.keys() >= SENSOR for sensor in sensors)
        assert all(isinstance(s["current_value"], float | int) for s in sensors)

    history = system.call("GET", f"mqtt/dataloggers/{logger['id']}/history/")
    assert all(sensor["readings"] for sensor in history["sensors"])
    gateways = system.call("GET", f"mqtt/gateways/?site_id={site['id']}")["gateways"]
    assert gateways[0]["is_online"] is True


@pytest.mark.parametrize("interval", ["", "raw", "1m", "15m", "1h", "1d", "all"])
@pytest.mark.parametrize("agg", ["min", "max", "avg", "sum", "count", "first", "last"])
def test_readings_of_a_sensor(system: System, site: dict[str, Any], interval, agg):
    [logger, *_] = loggers(system, site)
    path = f"mqtt/sensors/by_datalogger/?datalogger_id={logger['id']}"
    [sensor, *_] = system.call("GET", path)["sensors"]

    path = f"mqtt/sensors/{sensor['id']}/readings/?interval={interval}&agg={agg}"
    answer = system.call("GET", path)

    assert answer["readings"]
    assert answer["readings"][0].keys() == {"at", "value"}
    assert answer["readings"][0]["at"].endswith("Z")


def test_readings_as_csv(system: System, site: dict[str, Any]):
    [logger, *_] = loggers(system, site)
    path = f"mqtt/sensors/by_datalogger/?datalogger_id={logger['id']}"
    [sensor, *_] = system.call("GET", path)["sensors"]

    answer = WEB.get(
        f"{system.url}/api/v1/mqtt/sensors/{sensor['id']}/readings/?format=csv",
        headers={"Authorization": f"Bearer {system.token()}"},
    )

    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines()[0] == "at,value"
    assert len(answer.text.splitlines()) > 1


def test_discovery_and_topics(system: System, broker: Broker, site: dict[str, Any]):
    started = system.call(
        "POST", f"mqtt/sites/{site['id']}/discover/", 202, json={"duration_s": 60}
    )
    assert started["duration_s"] == 60
    until(lambda: _listens(system, site), "it listens")
    with Peer(broker.port) as device:
        device.publish(f"{site['code']}/strange/thing", {"a": 1})
        [topic] = until(lambda: _topics(system, site), "it is found")

    assert topic.keys() >= TOPIC  # alone: all other devices speak our protocol
    assert topic["topic"] == f"{site['code']}/strange/thing"
    path = f"mqtt/sites/{site['id']}/topics/{topic['id']}/"
    assert system.call("PATCH", path, json={"state": "ignored"})["state"] == "ignored"


def _listens(system: System, site: dict[str, Any]) -> bool:
    path = f"mqtt/sites/{site['id']}/discover/"
    return bool(system.call("GET", path)["sessions"][0]["state"] == "running")


def _topics(system: System, site: dict[str, Any]) -> list[dict[str, Any]]:
    return list(system.call("GET", f"mqtt/sites/{site['id']}/topics/")["topics"])


def test_publish_and_health(system: System, site: dict[str, Any]):
    body = {
        "topic": f"{site['code']}/gateway/1/datalogger/monstro/1/input",
        "message": "start",
        "qos": 1,
    }
    done = system.call("POST", f"mqtt/sites/{site['id']}/publish/", json=body)
    assert done["success"] is True
    assert done["message"] == "Message published successfully"

    health = WEB.get(f"{system.url}/api/v1/mqtt/health/").json()
    assert health.keys() >= {"status", "service", "connections"}
    assert health["service"].keys() >= {"running", "instance_id"}
    assert health["connections"].keys() >= {"total", "enabled", "healthy", "unhealthy"}
