"""Writes the parts of a site that both the list and its own page show."""

from __future__ import annotations

from datetime import datetime

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.sites.models import Status
from apps.web.formats import Ages, number_text
from apps.web.moments import iso, moment_text
from apps.web.rows import DeviceCount, SiteRow
from apps.web.sparks import spark_path
from apps.web.stamps import DISABLED, EMPTY, HIDDEN, fill, shape_of
from apps.web.texts import row_labels


class SiteWriter:
    """One for each page: knows its language and its moment.

    Args:
        now: the moment of the page.
        has_titles: times say the site's local time when pointed at; in a long list
            the script adds that when somebody does.
    """

    def __init__(self, now: datetime, *, has_titles: bool) -> None:
        labels = {"labels": row_labels()}
        self._ages = Ages(now)
        self._has_titles = has_titles
        self._row = shape_of("_site_row.html", labels)
        self._data = shape_of("_status_data.html", {})
        self._state = shape_of("_state.html", labels)
        self._retry = shape_of("_retry.html", labels)
        self._actions = shape_of("_actions.html", labels)
        self._restart = shape_of("_restart.html", labels)
        self._no_broker = shape_of("_no_broker.html", labels)
        self._not_online = [
            ("offline", _("%(n)s offline")),
            ("unknown", _("%(n)s unknown")),
        ]
        self._of_total = _("%(online)s of %(total)s online")

    def row(self, row: SiteRow, *, is_shown: bool) -> SafeString:
        """Return a site's line in the list."""
        last = row.state.last_message_at
        rate = row.rate
        return fill(
            self._row,
            id=row.state.site_id,
            tone=row.badge.tone,
            data=self.data(row),
            search=row.search_text,
            hidden=EMPTY if is_shown else HIDDEN,
            zone=row.zone,
            url=row.url,
            name=row.state.site_name,
            code=row.state.site_code,
            broker=self._broker(row),
            state=self.state(row),
            spark=spark_path(row.state.per_minute),
            rate="–" if rate is None else number_text(rate),
            online=self._online(row.devices),
            others=self._others(row.devices),
            last_message=self._age(last, row.zone) if last else "–",
            actions=self.actions(row, has_restart=False),
        )

    def data(self, row: SiteRow) -> SafeString:
        """Return what the scripts must know of a site, as attributes."""
        return fill(
            self._data,
            id=row.state.site_id,
            name=row.state.site_name,
            status=row.state.status,
            is_enabled="true" if row.state.is_enabled else "false",
            since=iso(row.since),
            has_broker=SafeString(" data-has-broker") if row.has_broker else EMPTY,
        )

    def state(self, row: SiteRow) -> SafeString:
        """Return badge, age, reason in words and the next attempt."""
        retry_at = row.state.next_retry_at if row.state.status == Status.ERROR else None
        return fill(
            self._state,
            tone=row.badge.tone,
            pulse=" is-pulsing" if row.badge.is_pulsing else "",
            badge=row.badge.text,
            since=self._age(row.since, row.zone) if row.since else "",
            reason=row.reason,
            retry=fill(self._retry, at=iso(retry_at)) if retry_at else "",
            slow=EMPTY if row.is_slow else HIDDEN,
        )

    def actions(self, row: SiteRow, *, has_restart: bool = True) -> SafeString:
        """Return the buttons, nothing for those who may not press them."""
        if not row.state.can_control:
            return EMPTY
        return fill(
            self._actions,
            name=row.state.site_name,
            start_url=row.start_url,
            stop_url=row.stop_url,
            restart=self._restart_button(row) if has_restart else EMPTY,
            start=EMPTY if row.controls.can_start else DISABLED,
            stop=EMPTY if row.controls.can_stop else DISABLED,
        )

    def _restart_button(self, row: SiteRow) -> SafeString:
        return fill(
            self._restart,
            name=row.state.site_name,
            url=row.restart_url,
            state=EMPTY if row.controls.can_restart else DISABLED,
        )

    def _broker(self, row: SiteRow) -> SafeString:
        if not row.has_broker:
            return SafeString(self._no_broker)
        shape = "{host}<wbr>:{port}"
        return fill(shape, host=row.state.broker_host, port=row.state.broker_port)

    def _age(self, moment: datetime, zone: str) -> SafeString:
        title = EMPTY
        if self._has_titles:
            title = fill(' title="{at}"', at=moment_text(moment, zone))
        return fill(
            '<time datetime="{at}" data-age{title}>{age}</time>',
            at=iso(moment),
            title=title,
            age=self._ages.text(moment),
        )

    def _online(self, devices: DeviceCount) -> str:
        return self._of_total % {"online": devices.online, "total": devices.total}

    def _others(self, devices: DeviceCount) -> str:
        """Name those that are not online, the reason why somebody looks here."""
        return " · ".join(
            words % {"n": getattr(devices, presence)}
            for presence, words in self._not_online
            if getattr(devices, presence)
        )
