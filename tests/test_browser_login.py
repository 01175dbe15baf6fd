"""The way in: login, language, theme; with a keyboard and on a phone as well."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import log_in
from tests.system import ADMIN

pytestmark = pytest.mark.system


def test_it_refuses_a_wrong_password_and_lets_the_right_one_in(new_page):
    page = new_page()

    page.goto("/")
    page.fill("input[name=username]", ADMIN[0])
    page.fill("input[name=password]", "wrong")
    page.click("main button.primary")
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    log_in(page, *ADMIN)

    expect(page.locator("h1")).to_have_text("Sites")


def test_it_speaks_italian_when_asked(new_page):
    page = new_page()
    page.goto("/login/")
    expect(page.locator("html")).to_have_attribute("lang", "en")

    page.get_by_role("button", name="Italiano").click()

    expect(page.locator("html")).to_have_attribute("lang", "it")
    expect(page.locator("h1")).to_have_text("Accedi")
