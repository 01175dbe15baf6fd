"""The deliberate bugs: what each changes, and which tests must notice.

An edit names a piece of source that is there exactly once. Whoever changes that piece
writes the bug anew; a bug that cannot be put in any more proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WRITER = "workers/writer.py"
LINK = "workers/link.py"
SUPERVISOR = "workers/supervisor.py"
CONNECTION = "workers/connection.py"
INGEST = "apps/telemetry/ingest.py"
REDELIVERY = "apps/telemetry/redelivery.py"
SPOOL_FILE = "workers/spoolfile.py"

TEST_WRITER = "workers/tests/test_writer.py"
TEST_GUARDS = "workers/tests/test_link_guards.py"
TEST_FENCE = "apps/telemetry/tests/test_ingest_fence.py"
TEST_REDELIVERY = "apps/telemetry/tests/test_ingest_redelivery.py"
TEST_READINGS = "apps/telemetry/tests/test_ingest_readings.py"
TEST_SILENCE = "apps/telemetry/tests/test_ingest_silence.py"
NOTHING_LOST = "tests/test_nothing_lost.py"
HOSTILE = "tests/test_hostile_broker.py"

_CONCERNED = (
    "        concerned = {m.connection_id for m in messages if m.dup and m.qos}\n"
)
_ALL_CONCERNED = "        concerned = {m.connection_id for m in messages if m.qos}\n"
_WANTED = "    wanted = {message.mid for message in messages if message.dup}\n"
_IS_REPEAT = "            if message.dup and last.get(message.mid) == content:\n"


class OutOfDateError(Exception):
    """A bug does not fit the source any more."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of a file, there exactly once, and what takes its place."""

    path: str
    old: str
    new: str

    def applied_to(self, source: str) -> str:
        """Return the source with the bug in it.

        Raises:
            OutOfDateError: the piece is not there, or more than once.
        """
        times = source.count(self.old)
        if times != 1:
            message = (
                f"{self.path} has {times} times, instead of once:\n{self.old}\n"
                "Write the bug anew in tests/mutations/catalog.py for what is there"
            )
            raise OutOfDateError(message)
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A deliberate bug; at least one of its tests must fail when it is there."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def sources(self, root: Path) -> dict[Path, str]:
        """Return the changed files with their new content.

        Raises:
            OutOfDateError: naming this mutation.
        """
        changed: dict[Path, str] = {}
        for edit in self.edits:
            path = root / edit.path
            try:
                source = changed[path] if path in changed else path.read_text()
                changed[path] = edit.applied_to(source)
            except (OSError, OutOfDateError) as error:
                message = f"{self.name} is out of date: {error}"
                raise OutOfDateError(message) from None
        return changed


CATALOG = (
    Mutation(
        "acknowledge-before-commit",
        "the writer acknowledges a batch and then stores it",
        (
            Edit(
                WRITER,
                "                    with self._limited():\n"
                "                        written = self._ingest.write_batch(\n",
                "                    self._acknowledge([e.message for e in entries])\n"
                "                    with self._limited():\n"
                "                        written = self._ingest.write_batch(\n",
            ),
        ),
        (
            f"{TEST_WRITER}::test_nothing_is_acknowledged_while_the_database_is_away",
            f"{TEST_WRITER}::test_a_fenced_batch_acknowledges_nothing",
            f"{NOTHING_LOST}::test_a_puback_leaves_only_after_the_commit",
        ),
    ),
    Mutation(
        "acknowledge-on-receipt",
        "the network thread acknowledges what it puts into the inbox",
        (
            Edit(
                SUPERVISOR,
                "        self._put(link, message)\n",
                "        self._put(link, message)\n"
                "        if message.qos:\n"
                "            link.acknowledge([message.mid])\n",
            ),
        ),
        (
            f"{NOTHING_LOST}::test_a_puback_leaves_only_after_the_commit",
            f"{NOTHING_LOST}::test_what_cannot_be_committed_is_acknowledged_only_from_disk",
        ),
    ),
    Mutation(
        "no-fence",
        "a batch is stored whoever owns its shard",
        (
            Edit(
                INGEST,
                "            if not is_late:\n"
                "                self._check_fence(entries, epochs)\n",
                "",
            ),
        ),
        (
            f"{TEST_FENCE}::test_a_batch_of_another_epoch_stores_nothing",
            f"{TEST_FENCE}::test_after_a_takeover_every_batch_of_the_old_owner_is_refused",
        ),
    ),
    Mutation(
        "fence-without-lock",
        "the epochs are compared, and not held until the commit",
        (Edit("apps/sites/leases.py", "ANY(%s::int[]) FOR SHARE", "ANY(%s::int[])"),),
        (
            f"{TEST_FENCE}::"
            "test_a_takeover_waits_for_the_batch_and_then_refuses_the_next",
        ),
    ),
    Mutation(
        "no-epoch-check-on-acks",
        "a PUBACK goes out on whatever session is there now",
        (
            Edit(
                SUPERVISOR,
                "                if link.session == session and not link.is_closed:\n",
                "                if not link.is_closed:\n",
            ),
        ),
        (f"{HOSTILE}::test_a_commit_never_acknowledges_another_sessions_message",),
    ),
    Mutation(
        "callbacks-unguarded",
        "an exception in a callback of paho's runs through the network thread",
        (
            Edit(
                LINK,
                "        except Exception as error:  "
                "# noqa: BLE001 (a border: paho, TLS, our callbacks)\n",
                "        except GeneratorExit as error:\n",
            ),
            Edit(
                SUPERVISOR,
                "        except Exception:\n"
                '            log.exception("link broke connection_id=%d"',
                "        except GeneratorExit:\n"
                '            log.exception("link broke connection_id=%d"',
            ),
        ),
        (
            f"{TEST_GUARDS}::test_an_exception_in_a_callback_costs_only_the_link",
            f"{TEST_GUARDS}::test_a_packet_that_is_no_packet_ends_the_link",
        ),
    ),
    Mutation(
        "sse-in-transaction",
        "live values are sent to the browsers before the batch is committed",
        (
            Edit(
                INGEST,
                "            for connection_id in dropped.keys() & known:\n",
                "            from apps.core import events\n"
                "            for site_id, moved in written.current.items():\n"
                "                events.emit(\n"
                "                    [events.site_channel(site_id)],\n"
                '                    "telemetry",\n'
                '                    {"values": list(moved.values())},\n'
                "                )\n"
                "            for connection_id in dropped.keys() & known:\n",
            ),
        ),
        (f"{TEST_SILENCE}::test_storing_a_batch_asks_nothing_of_redis",),
    ),
    Mutation(
        "status-in-transaction",
        "a new status is sent to the browsers before it is committed",
        (
            Edit(
                "apps/sites/signals.py",
                "        transaction.on_commit("
                "lambda: broadcast_status_update(instance))\n",
                "        transaction.get_connection()\n"
                "        broadcast_status_update(instance)\n",
            ),
        ),
        ("apps/sites/tests/test_status_signal.py",),
    ),
    Mutation(
        "dedup-off",
        "what a broker delivers again is stored again",
        (
            Edit(
                INGEST,
                "            repeats = "
                "redelivery.find_repeats(messages, is_late=is_late)\n",
                "            repeats: set[int] = set()\n",
            ),
        ),
        (
            f"{TEST_REDELIVERY}::test_a_redelivery_is_counted_and_not_stored",
            f"{TEST_REDELIVERY}::test_a_redelivery_is_recognised_by_the_next_process",
            f"{NOTHING_LOST}::test_a_redelivery_is_counted_and_not_stored",
        ),
    ),
    Mutation(
        "dedup-by-content-only",
        "a message with the content of an earlier one is taken for a redelivery",
        (
            Edit(REDELIVERY, _CONCERNED, _ALL_CONCERNED),
            Edit(REDELIVERY, _WANTED, "    wanted = range(65_536)\n"),
            Edit(REDELIVERY, _IS_REPEAT, "            if content in last.values():\n"),
        ),
        (
            f"{TEST_READINGS}::test_two_equal_readings_without_a_time_are_two",
            f"{TEST_REDELIVERY}::test_a_packet_id_that_is_used_again_is_a_new_message",
            f"{NOTHING_LOST}::test_a_redelivery_is_counted_and_not_stored",
        ),
    ),
    Mutation(
        "dedup-without-dup",
        "packet id and content are compared, and the DUP flag is not",
        (
            Edit(REDELIVERY, _CONCERNED, _ALL_CONCERNED),
            Edit(
                REDELIVERY,
                _WANTED,
                "    wanted = {message.mid for message in messages}\n",
            ),
            Edit(
                REDELIVERY,
                _IS_REPEAT,
                "            if last.get(message.mid) == content:\n",
            ),
        ),
        (f"{TEST_REDELIVERY}::test_a_packet_id_that_is_used_again_is_a_new_message",),
    ),
    Mutation(
        "window-not-stored",
        "what was delivered is not remembered with what is stored",
        (
            Edit(
                INGEST,
                "redelivery.pack(messages, repeats)",
                "redelivery.pack([], repeats)",
            ),
        ),
        (f"{TEST_REDELIVERY}::test_a_redelivery_is_recognised_by_the_next_process",),
    ),
    Mutation(
        "spool-without-fsync",
        "the spool commits without having the disk told to keep it",
        (
            Edit(
                SPOOL_FILE,
                '        db.execute("PRAGMA synchronous=FULL")\n',
                '        db.execute("PRAGMA synchronous=OFF")\n',
            ),
        ),
        (
            "workers/tests/test_spoolfile.py"
            "::test_it_is_durable_by_what_sqlite_itself_says",
        ),
    ),
    Mutation(
        "spool-acknowledges-first",
        "what goes to the spool is acknowledged before it is on the disk",
        (
            Edit(
                WRITER,
                "        if not self._spool.keep(pairs, tried):\n",
                "        self._acknowledge(messages)\n"
                "        if not self._spool.keep(pairs, tried):\n",
            ),
        ),
        (
            "workers/tests/test_writer_spool.py"
            "::test_nothing_is_acknowledged_before_it_is_on_disk",
        ),
    ),
    Mutation(
        "status-from-is-connected",
        "a link is lost when paho's is_connected() says so",
        (
            Edit(
                LINK,
                "        if self.is_closed:\n"
                "            self._listener.link_closed(self)\n",
                "        if not self._client.is_connected() and self.was_accepted:\n"
                "            self._listener.link_closed(self)\n",
            ),
        ),
        (f"{TEST_GUARDS}::test_an_exception_in_a_callback_costs_only_the_link",),
    ),
    Mutation(
        "connected-at-connack",
        "a site is shown as connected before its subscriptions are confirmed",
        (
            Edit(
                CONNECTION,
                "        self._subscriptions.begin("
                "link, self.spec, is_old_session=session_present)\n",
                "        self._subscriptions.begin("
                "link, self.spec, is_old_session=session_present)\n"
                "        self._report_up()\n",
            ),
        ),
        (
            "workers/tests/test_connection_start.py"
            "::test_it_is_connected_when_the_subscription_is_confirmed",
        ),
    ),
)

BY_NAME = {mutation.name: mutation for mutation in CATALOG}
