"""The fallback broker: rumqttd inside the `iotcore` wheel, as a program of its own.

Run as a script with one argument, the configuration file. SIGTERM stops it; it has no
other way out and keeps nothing on disk.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

# Unacknowledged messages a client. It takes any number here, but never has more than
# 100 in flight (measured with iotcore 0.4.0 and 100, 1000 and 65535).
MAX_INFLIGHT = 100
MAX_PAYLOAD = (
    1024 * 1024
)  # bytes; its default of 20 KB is below some firmware's batches

ROUTER = """\
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 5000
max_segment_size = 104857600
max_segment_count = 10
"""

LISTENER = """\
[{table}.1]
name = "{table}"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
  [{table}.1.connections]
  connection_timeout_ms = 60000
  max_payload_size = {max_payload}
  max_inflight_count = {max_inflight}
  dynamic_filters = true
"""


def config(*, port: int, v5_port: int, users: Mapping[str, str] | None) -> str:
    """The configuration file's text; MQTT 3.1.1 and 5 need a port each."""
    text = ROUTER
    for table, number in (("v4", port), ("v5", v5_port)):
        text += LISTENER.format(
            table=table, port=number, max_payload=MAX_PAYLOAD, max_inflight=MAX_INFLIGHT
        )
        if users is not None:
            text += f"  [{table}.1.connections.auth]\n"
            for name, password in users.items():
                # A JSON string is a valid TOML string.
                text += f"  {json.dumps(name)} = {json.dumps(password)}\n"
    return text


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level="WARNING")
    # It logs a line for each packet, which costs more than the packet.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    from iotcore import IotCoreBroker  # here: config() works without it

    IotCoreBroker(config_path=sys.argv[1]).run_forever()


if __name__ == "__main__":
    main()
