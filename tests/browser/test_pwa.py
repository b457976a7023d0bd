"""The service worker in a real Chromium: no connection, photos from the share sheet, and what it keeps."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from app.assets import version
from tests.browser.conftest import ARGS, find_chromium
from tests.browser.test_browser import TEDDY, cards, choose, expect_answer, live, opened, photo, site
from tests.live import Live

__all__ = ["live", "site"]  # fixtures

# The address of the worker, once it is at work: while it is activated it may still delete what another one keeps.
READY = """navigator.serviceWorker.ready.then(({ active }) => new Promise((resolve) => {
  const look = () => active.state === "activated" && resolve(active.scriptURL);
  active.addEventListener("statechange", look);
  look();
}))"""
# What is kept: {cache: [paths]}.
KEPT = """async () => {
  const found = {};
  for (const name of await caches.keys()) {
    const requests = await (await caches.open(name)).keys();
    found[name] = requests.map(({ url }) => new URL(url).pathname);
  }
  return found;
}"""
# What a share sheet has the browser do: a form posted, and the page that answers shown.
SHARE = """(photos) => {
  const [form, input] = ["form", "input"].map((tag) => document.createElement(tag));
  Object.assign(form, { method: "post", action: "/share", enctype: "multipart/form-data" });
  Object.assign(input, { type: "file", name: "file", multiple: true });
  const carried = new DataTransfer();
  for (const [name, data] of photos) {
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt());
    carried.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  input.files = carried.files;
  form.append(input);
  document.body.append(form);
  form.submit();
}"""
OURS = f"tellapart-{version()}"
OWN = ["/offline", "/static/page.css", "/static/icon.svg"]
GIVE_UP_S = 20


def share(page: Page, *names: str) -> None:
    """Share the teddy bear under these names; the page that shows it is there afterwards."""
    photos = [[name, base64.b64encode(TEDDY).decode()] for name in names]
    with page.expect_navigation(url="**/?shared"):
        page.evaluate(SHARE, photos)


def until_kept(page: Page, wanted: dict[str, list[str]]) -> None:
    """Return once that is all that is kept."""
    deadline = time.monotonic() + GIVE_UP_S
    while (found := page.evaluate(KEPT)) != wanted:
        assert time.monotonic() < deadline, found
        page.wait_for_timeout(50)


def test_photos_from_the_share_sheet(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        assert page.evaluate(READY) == f"{live.url}/sw.js?v={version()}"
        asked: list[str] = []
        page.context.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        share(page, "1.jpg", "2.jpg")
        expect(page.locator("#status")).to_have_text("2 photos done.")
        for index in range(2):
            expect_answer(cards(page).nth(index), live, TEDDY)
            expect(cards(page).nth(index)).to_contain_text(f"{index + 1}.jpg")
        assert page.url == f"{live.url}/"
        assert asked.count(f"POST {live.url}/upload") == 2
        page.goto("/?shared")  # they were given out once, and are gone
        expect(page.locator("#status")).to_contain_text("No photos came from the share sheet.")
        expect(cards(page)).to_have_count(0)
        choose(page, photo("3.jpg", TEDDY))
        expect_answer(cards(page), live, TEDDY)
        assert page.evaluate(KEPT) == {OURS: OWN}  # no answer, no photo


def test_offline_it_says_so_and_how_to_go_on(chromium: Browser, live: Live) -> None:
    with opened(chromium, live, viewport={"width": 320, "height": 640}) as page:
        page.evaluate(READY)
        page.context.set_offline(True)
        page.goto("/?a=1")
        expect(page.get_by_role("heading")).to_have_text("You are offline, or the service is out of reach.")
        assert page.locator(".brand img").evaluate("image => image.naturalWidth") > 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(248, 245, 239)"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("link", name="Try again").click()
        expect(page.get_by_role("heading")).to_have_text("You are offline, or the service is out of reach.")
        page.context.set_offline(False)
        page.get_by_role("link", name="Try again").click()
        expect(page.get_by_label("Choose photos")).to_be_attached()
        assert page.url == f"{live.url}/?a=1"


def test_a_new_version_takes_over_and_the_old_one_goes(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        page.evaluate(READY)
        page.evaluate('caches.open("another program\'s")')
        page.evaluate("navigator.serviceWorker.register('/sw.js?v=0123456789ab')")
        until_kept(page, {"tellapart-0123456789ab": OWN, "another program's": []})
        page.reload()
        until_kept(page, {OURS: OWN, "another program's": []})


def test_it_can_be_installed(chromium: Browser, live: Live, tmp_path: Path) -> None:
    """By the browser's own word, which it gives outside private windows alone."""
    start = chromium.browser_type.launch_persistent_context
    with start(tmp_path, executable_path=find_chromium(), args=list(ARGS)) as context:
        page = context.new_page()
        page.goto(live.url)
        page.evaluate(READY)
        devtools = context.new_cdp_session(page)
        found = devtools.send("Page.getAppManifest")
        assert (found["url"], found["errors"]) == (f"{live.url}/manifest.webmanifest", [])
        assert found["manifest"]["shareTarget"]["action"] == f"{live.url}/share"
        assert devtools.send("Page.getInstallabilityErrors") == {"installabilityErrors": []}
