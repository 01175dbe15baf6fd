"""History from CSV: all of a file or nothing, and what its problems are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.devices.models import Presence, SensorDevice
from apps.telemetry import csv_import, history_api, rollups
from apps.telemetry.models import Reading
from apps.telemetry.tests.histories import Said, asked, make_sensor, store

AT = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)


@pytest.fixture
def sensor(north):
    north.timezone = "Europe/Rome"
    north.save()
    return make_sensor(north)


@pytest.fixture
def send(superuser, sensor):
    def post(content: str | bytes, content_type: str = "text/csv"):
        body: Any = content.encode() if isinstance(content, str) else content
        path = f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/import/"
        return client_of(superuser).generic(
            "POST", path, body, content_type=content_type
        )

    return post


def stored() -> list[tuple]:
    return [
        (row.sensor.key, row.measured_at, row.value if row.text is None else row.text)
        for row in Reading.objects.select_related("sensor").order_by(
            "sensor__key", "measured_at"
        )
    ]


def test_a_long_file_is_stored(send):
    answer = send(
        "at,key,value\r\n"
        "2026-03-29T10:00:00Z,t_ext,22.5\r\n"
        '2026-03-29T10:00:00Z,mode,"auto, slow"\r\n'
    )

    assert answer.json() == {
        "rows": 2,
        "stored": 2,
        "duplicates": 0,
        "sensors_created": 1,
    }
    assert stored() == [("mode", AT, "auto, slow"), ("t_ext", AT, 22.5)]


def test_a_wide_file_is_stored_and_empty_cells_are_none(send):
    answer = send("at,t_ext,hum\n2026-03-29T10:00:00Z,1,\n2026-03-29T10:01:00Z,,51\n\n")

    assert answer.json()["stored"] == 2
    assert stored() == [("hum", AT + timedelta(minutes=1), 51.0), ("t_ext", AT, 1.0)]


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-29T10:00:00Z",
        "2026-03-29 12:00:00",  # the site's zone, already summer
        "2026-03-29T12:00+02:00",
        "1774778400",
        "1774778400.0",
        "1774778400000",
        "1774778400000000",
        "1774778400000000000",
    ],
)
def test_times_may_be_written_in_many_ways(send, time):
    assert send(f"at,t_ext\n{time},1\n").status_code == 200

    assert stored() == [("t_ext", AT, 1.0)]


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        ("time,key,value\n", 1, "columns"),
        ("at\n2026-03-29T10:00:00Z\n", 1, "no column"),
        ("at,a,a\n", 1, "twice"),
        ("at,\n", 1, "characters"),
        (f"at,{'k' * 129}\n", 1, "characters"),
        ("at,a\nyesterday,1\n", 2, "no time"),
        (f"at,a\n{'9' * 5000},1\n", 2, "no time"),
        ("at,a\n1e999,1\n", 2, "no time"),
        ("at,a\n0,1\n", 2, "2000"),
        ("at,a\n2126-01-01T00:00:00Z,1\n", 2, "2000"),
        ("at,a\n9999-12-31T23:59:59-14:00,1\n", 2, "time"),
        ("at,a\n2026-03-29T10:00:00Z,nan\n", 2, "finite"),
        ("at,a\n2026-03-29T10:00:00Z,1e999\n", 2, "finite"),
        (f"at,a\n2026-03-29T10:00:00Z,{'é' * 1001}\n", 2, "bytes"),
        ("at,a,b\n2026-03-29T10:00:00Z,1\n", 2, "few"),
        ("at,key,value\n2026-03-29T10:00:00Z,,1\n", 2, "key"),
        ('at,a\n2026-03-29T10:00:00Z,"x\n', 2, ""),
        ("at,a\n2026-03-29T10:00:00Z,a\0b\n", 1, "NUL"),
        (f"at,a\n2026-03-29T10:00:00Z,{'x' * 100_001}\n", 1, "long"),
        (b"at,a\n2026-03-29T10:00:00Z,\xff\n", 1, "UTF-8"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(send, content, line, word):
    good = b"at,a\n2026-03-29T10:00:00Z,1\n"
    body = content.encode() if isinstance(content, str) else content
    if body.startswith(b"at,a\n2026"):
        body = good + body.removeprefix(b"at,a\n")
        line += word not in ("NUL", "long", "UTF-8")

    answer = send(body)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert answer.json()["code"] == "import_refused"
    [(where, [problem])] = answer.json()["fields"].items()
    assert where.startswith("line ")
    assert word in problem
    if word not in ("NUL", "long", "UTF-8"):
        assert where == f"line {line}"
    assert stored() == []


def test_the_first_twenty_problems_are_told(send):
    lines = ["at,a", "2026-03-29T10:00:00Z,1", *["bad,1"] * 30]

    answer = send("\n".join(lines))

    assert list(answer.json()["fields"]) == [f"line {n}" for n in range(3, 23)]
    assert "Line 3" in answer.json()["message"]
    assert stored() == []


def test_what_was_there_is_counted_and_kept_once(send, sensor):
    content = "at,t_ext\n2026-03-29T10:00:00Z,1\n2026-03-29T10:01:00Z,2\n"
    send(content)

    answer = send(content + "2026-03-29T10:02:00Z,3\n2026-03-29T10:02:00Z,3\n")

    assert answer.json() == {
        "rows": 4,
        "stored": 1,
        "duplicates": 3,
        "sensors_created": 0,
    }
    assert len(stored()) == 3


def test_current_values_move_forward_only_and_presence_stays(send, sensor):
    now = timezone.now().replace(microsecond=0)
    SensorDevice.objects.filter(pk=sensor.pk).update(current_value=9, current_at=now)

    send(f"at,t_ext,hum\n{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ},1,2\n")

    sensor.refresh_from_db()
    assert sensor.current_value == 9
    assert SensorDevice.objects.get(key="hum").current_value == 2
    assert sensor.datalogger.presence == Presence.UNKNOWN
    assert sensor.datalogger.last_seen_at is None


def test_new_sensors_are_bounded(send, monkeypatch):
    monkeypatch.setattr(csv_import, "MAX_NEW_SENSORS", 2)

    assert send("at,a,b,c\n2026-03-29T10:00:00Z,1,2,3\n").status_code == 400
    assert SensorDevice.objects.count() == 1
    assert send("at,a,b,t_ext\n2026-03-29T10:00:00Z,1,2,3\n").status_code == 200


def test_a_file_may_come_as_a_form(superuser, sensor):
    answer = client_of(superuser).post(
        f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/import/",
        {"file": SimpleUploadedFile("x.csv", b"\xef\xbb\xbfat,a\n1774778400,1\n")},
        format="multipart",
    )

    assert answer.json()["stored"] == 1


def test_other_bodies_are_refused(send, monkeypatch):
    assert send("{}", "application/json").status_code == 415
    assert send("", "multipart/form-data; boundary=x").status_code == 400
    assert send("--x--\r\n", "multipart/form-data; boundary=x").status_code == 400
    monkeypatch.setattr(history_api, "MAX_IMPORT_BYTES", 10)
    assert send("at,a\n1774778400,1\n").status_code == 413


def test_an_import_is_in_the_charts_at_once_and_in_the_rollups_after(send, sensor):
    day = timezone.now() - timedelta(days=30)
    send(f"at,t_ext\n{day:%Y-%m-%dT%H:%M:%SZ},7\n")

    for _ in range(2):
        [figures] = asked([sensor], "1d", start=day - timedelta(days=1)).values()

        assert figures[0] == 7
        rollups.run()


def test_an_export_can_be_imported_again(send, superuser, sensor, north):
    start = timezone.now() - timedelta(days=3)
    readings: list[Said] = [
        (start, 0.1 + 0.2),
        (start + timedelta(microseconds=1), "two\nlines, quoted"),
        (start + timedelta(seconds=1), -1e-300),
    ]
    store(sensor, readings)
    store(make_sensor(north, "hum"), [(start, 5.0)])
    before = stored()
    export = (
        client_of(superuser)
        .get(
            f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/",
            {
                "format": "csv",
                "interval": "raw",
                "from": (start - timedelta(1)).isoformat(),
            },
        )
        .getvalue()
    )
    Reading.objects.all().delete()
    SensorDevice.objects.filter(key="hum").delete()

    assert send(export).json()["stored"] == 4

    assert stored() == before


def test_the_command_stores_a_file_of_any_size(
    sensor, tmp_path, capsys, monkeypatch, settings
):
    settings.TELEMETRY_RETENTION_DAYS = settings.ROLLUP_1M_RETENTION_DAYS = 36_500
    monkeypatch.setattr(csv_import, "CHUNK", 100)
    file = tmp_path / "history.csv"
    lines = [f"{1774778400 + 60 * n},{n}" for n in range(1_000)]
    file.write_text("\n".join(["at,t_ext", *lines]))

    call_command("import_history", file, datalogger=sensor.datalogger_id, dry_run=True)
    assert "1,000 values, all fine; nothing was stored" in capsys.readouterr().out
    assert stored() == []

    call_command("import_history", file, datalogger=sensor.datalogger_id)
    said = capsys.readouterr().out
    assert "1,000 stored, 0 there before; 0 new sensors" in said
    assert "checking" in said
    assert "100%" in said
    assert rollups.lag() == 0
    assert len(asked([sensor], "1m", start=AT)) == 1_000


def test_the_command_says_what_is_wrong(sensor, tmp_path):
    file = tmp_path / "history.csv"
    file.write_text("at,t_ext\nbad,1\n1774778400,1\nbad,2\n")

    with pytest.raises(CommandError, match=r"line 2: .*\nline 4: .*\nnothing was"):
        call_command("import_history", file, datalogger=sensor.datalogger_id)
    with pytest.raises(CommandError, match="no datalogger 0"):
        call_command("import_history", file, datalogger=0)
    with pytest.raises(CommandError, match="No such file"):
        call_command(
            "import_history", tmp_path / "none", datalogger=sensor.datalogger_id
        )
    assert stored() == []
