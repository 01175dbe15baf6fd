"""The paho client as one of thousands in a selector loop: buffered reads and writes.

paho asks the kernel for one byte at a time and sends one packet a call. Here a read
fetches up to 64 KiB which paho then takes piece by piece, and acknowledgements of a
batch leave together. It overrides two internal methods of paho 2.2 (`_sock_recv`,
`_sock_send`) and reads `_in_packet`; workers/tests/test_pahoclient.py fails when a
newer paho has other ones.
"""

from __future__ import annotations

from paho.mqtt.client import Client

READ_BYTES = 65_536
_PUBACK = 0x40


class BufferedClient(Client):
    """A client that is driven by a loop of ours; never by `loop_start`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._received = b""
        self._taken = 0
        self._to_send = bytearray()
        self.reads_left = 1  # of READ_BYTES each; set anew before every turn

    @property
    def has_buffered(self) -> bool:
        """Whether bytes wait here that the selector cannot see."""
        return self._taken < len(self._received)

    @property
    def has_unsent(self) -> bool:
        return bool(self._to_send) or self.want_write()

    @property
    def announced_bytes(self) -> int:
        """Length of the packet that is coming in; paho itself puts no bound on it."""
        return int(self._in_packet["remaining_length"])

    def flush(self) -> None:
        """Send what `_sock_send` held back; raises OSError when the link is gone."""
        while self._to_send:
            try:
                sent = super()._sock_send(self._to_send)
            except BlockingIOError:
                return
            del self._to_send[:sent]

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._taken >= len(self._received):
            if self.reads_left <= 0:
                raise BlockingIOError  # the rest waits in the socket
            self.reads_left -= 1
            self._received = super()._sock_recv(READ_BYTES)
            self._taken = 0
        chunk = self._received[self._taken : self._taken + bufsize]
        self._taken += len(chunk)
        return chunk

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if buf[0] == _PUBACK:
            self._to_send += buf
            return len(buf)
        self.flush()
        if self._to_send:
            raise BlockingIOError  # packets keep their order
        return super()._sock_send(buf)
