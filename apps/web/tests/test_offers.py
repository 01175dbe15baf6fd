"""What the pages offer to each person is what that person may do: no more, no less."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import resolve

from apps.sites import publish_requests, trials
from apps.web.tests.pages import Page, page_of
from apps.web.tests.site_tabs import quarantine
from tests.html_rules import problems_of

REFUSED = (401, 403, 404, 405)
ELSEWHERE = ("/admin/", "/api/")  # not of these pages
OF_EVERYBODY = {"set_language", "theme", "logout"}
OF_OPERATORS = OF_EVERYBODY | {"start", "stop", "restart", "resubscribe"}
OF_SUPERUSERS = OF_OPERATORS | {
    *("site_new", "site_edit", "connection", "test", "members", "member"),
    *("discover", "decide", "topic", "replay", "version", "publish"),
}


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TAKE_WITHIN_S", 0)
    monkeypatch.setattr(publish_requests, "QUEUE_S", 0)


@pytest.fixture
def both(full, hidden):
    """A site with something on each of its pages, and one that is hidden."""
    quarantine(full, b'{"v": 77, "t": 1}', reason="unknown_version")
    return full, hidden


def crawl(client) -> dict[str, Page]:
    """Return every page that links lead to, from the first one on."""
    pages: dict[str, Page] = {}
    waiting = ["/"]
    while waiting:
        address = waiting.pop()
        response = client.get(address)
        assert response.status_code == 200, address
        assert problems_of(response.content.decode()) == [], address
        pages[address] = page_of(response)
        for link in links(address, pages[address]):
            if link not in pages and link not in waiting:
                waiting.append(link)
    return pages


def links(address: str, page: Page) -> Iterator[str]:
    for found in page.with_attribute("href"):
        target = urlsplit(urljoin(address, found["href"]))
        is_page = not target.netloc and not target.path.startswith("/static/")
        if is_page and not target.path.startswith(ELSEWHERE):
            yield target.path  # what a query asks for is the same page


def offers(address: str, page: Page) -> Iterator[tuple[str, str]]:
    """Return method and address of everything that can be sent from a page."""
    for tag, found in page.elements:
        is_form = tag == "form" and found.get("method", "").lower() == "post"
        if is_form and found.get("id") != "control":  # its buttons say where to
            yield "POST", urljoin(address, found.get("action", ""))
        if "formaction" in found:
            yield "POST", found["formaction"]
        if "data-publish" in found:
            yield "POST", found["data-publish"]
        if "data-patch" in found:
            yield "PATCH", found["data-patch"]


def send(client, method, path):
    if path.startswith("/api/"):
        return client.generic(method, path, "{}", content_type="application/json")
    return client.post(path, {"state": "new"})


@pytest.mark.parametrize(
    ("person", "theirs"),
    [
        ("outsider", OF_EVERYBODY),
        ("viewer", OF_EVERYBODY),
        ("operator", OF_OPERATORS),
        ("superuser", OF_SUPERUSERS),
    ],
)
def test_nothing_is_offered_that_would_be_refused(
    both, client, request, person, theirs
):
    client.force_login(request.getfixturevalue(person))
    pages = crawl(client)

    found = {
        offer for address, page in pages.items() for offer in offers(address, page)
    }

    names = {resolve(urlsplit(path).path).url_name for _, path in found} - {None}
    assert names == theirs
    sites_seen = {path for path in pages if path.endswith(f"/sites/{both[1].pk}/")}
    assert bool(sites_seen) is (person != "outsider")
    # The logout last: after it everything would be refused.
    for method, path in sorted(found, key=lambda offer: "logout" in offer[1]):
        answer = send(client, method, path)
        assert answer.status_code not in REFUSED, (method, path)
        assert not answer.get("Location", "").startswith("/login/?next"), path
