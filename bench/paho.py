"""A paho client that receives and does nothing with it: the ceiling of the library.

python -m bench.paho PORT LOGIN PASSWORD MESSAGES
"""

from __future__ import annotations

import sys
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    port, username, password, messages = sys.argv[1:5]
    left = int(messages)
    client = Client(CallbackAPIVersion.VERSION2, client_id="bench-paho")
    client.username_pw_set(username, password)

    def on_message(_client: Client, _data: object, _message: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            print(time.time(), flush=True)
            client.disconnect()

    client.on_message = on_message
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", int(port))
    client.subscribe("+/datalogger/bench/+/data", qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()
