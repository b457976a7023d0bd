"""What goes wrong now and then, and how the page goes on, in a real Chromium."""

from __future__ import annotations

import csv
import io
from email.utils import formatdate
from pathlib import Path
from time import time

from playwright.sync_api import Browser, Route, expect

from tests.browser.test_browser import BUSY, TEDDY, cards, choose, live, opened, photo, site
from tests.browser.test_many import answered, saved
from tests.live import Live

__all__ = ["live", "site"]  # fixtures

IMAGE = {"format": "JPEG", "width": 9, "height": 9, "notes": []}


def busy(seconds: str, times: list[str]) -> object:
    """A service that says so; notes who asked."""

    def answer(route: Route) -> None:
        times.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": seconds}, json=BUSY)

    return answer


def test_a_url_that_fails_at_first_holds_nothing_up(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live) as page:
        page.route("**/classify-url*", lambda route: route.abort(), times=4)
        for name in "abcd":  # as many as are classified at once, and one
            page.get_by_label("web address").fill(f"http://{site}/{name}.jpg")
            page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Try again")).to_have_count(4)
        for _ in range(4):
            page.get_by_role("button", name="Try again").first.click()
        answered(page, 4)
        expect(page.get_by_role("heading", name="teddys", exact=True)).to_have_count(4)
        expect(page.get_by_role("img", name="Preview of")).to_have_count(4)
        choose(page, photo("teddy.jpg", TEDDY))
        answered(page, 5)


def test_an_answer_that_is_none_of_ours_holds_nothing_up(chromium: Browser, live: Live) -> None:
    strange = {"predictions": [["a", 1]], "verdict": "a"}
    with opened(chromium, live) as page:
        page.route("**/upload*", lambda route: route.fulfill(json=strange), times=4)
        choose(page, *[photo(f"{name}.jpg", TEDDY) for name in "abcde"])
        answered(page, 5)
        expect(page.get_by_text("This page cannot read the service’s answer.")).to_have_count(4)
        expect(page.get_by_role("heading", name="teddys", exact=True)).to_have_count(1)


def test_waiting_for_a_busy_service_can_be_cancelled(chromium: Browser, live: Live) -> None:
    asked: list[str] = []
    with opened(chromium, live) as page:
        page.route("**/upload*", busy(formatdate(time() + 690, usegmt=True), asked), times=3)
        choose(page, *[photo(f"{name}.jpg", TEDDY) for name in "abc"])
        expect(page.get_by_text("trying again in 6")).to_have_count(3)  # 600 to 690 s: a date is understood
        cards(page).first.get_by_role("button", name="Cancel").click()
        expect(cards(page).first).to_contain_text("Cancelled.")
        page.get_by_role("button", name="Clear").click()
        choose(page, photo("teddy.jpg", TEDDY))
        expect(cards(page).get_by_role("heading")).to_have_text("teddys")
        assert len(asked) == 3


def test_the_focus_stays_at_the_card(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        held: list[Route] = []
        page.route("**/upload*", lambda route: held.append(route), times=2)
        choose(page, photo("teddy.jpg", TEDDY))
        cancel, again = (page.get_by_role("button", name=name) for name in ("Cancel", "Try again"))
        cancel.focus()
        page.keyboard.press("Enter")
        expect(again).to_be_focused()
        page.keyboard.press("Enter")
        expect(cancel).to_be_focused()
        page.wait_for_timeout(200)  # until it is sent
        held[1].continue_()
        expect(cards(page).get_by_role("heading")).to_be_focused()


def test_tried_again_it_counts_once(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        held: list[Route] = []

        def answer(route: Route) -> None:
            held.append(route)
            if len(held) == 2:
                route.abort()
            elif len(held) == 3:
                route.continue_()

        page.route("**/upload*", answer)
        choose(page, photo("a.jpg", TEDDY), photo("b.jpg", TEDDY))
        page.get_by_role("button", name="Try again").click()
        expect(cards(page).get_by_role("heading", name="teddys")).to_have_count(1)
        held[0].continue_()
        expect(page.locator("#status")).to_have_text("2 photos done.")


def test_clear_ends_what_is_still_being_given(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        choose(page, *[photo(f"{number}.jpg", b"x") for number in range(200)])
        page.evaluate("document.querySelector('#clear').click()")
        page.wait_for_timeout(300)
        expect(cards(page)).to_have_count(0)


def test_classes_of_any_name(chromium: Browser, live: Live, tmp_path: Path) -> None:
    names = ["constructor", "__proto__", "error", "0"]
    answer = {"predictions": [[name, 0.25] for name in names], "verdict": "constructor", "image": IMAGE}
    with opened(chromium, live) as page:
        page.route("**/upload*", lambda route: route.fulfill(json=answer), times=1)
        choose(page, photo("a.jpg", TEDDY))
        answered(page, 1)
        page.route("**/upload*", lambda route: route.abort())
        choose(page, photo("b.jpg", TEDDY))
        answered(page, 2)
        kinds = page.get_by_label("Show").locator("option")
        expect(kinds).to_have_text(["All", "Without an answer", "constructor"])
        rows = list(csv.reader(io.StringIO(saved(page, "Answers as CSV", tmp_path).decode("utf-8-sig"))))
        assert rows[0] == ["file", "verdict", *sorted(names), "error"]
        assert [row[2] for row in rows[1:]] == ["0.25", ""]


def test_a_zip_without_photos_is_not_offered(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live) as page:
        for name in "ab":
            page.get_by_label("web address").fill(f"http://{site}/{name}.jpg")
            page.keyboard.press("Enter")
        answered(page, 2)
        expect(page.get_by_role("button", name="ZIP")).to_be_disabled()
