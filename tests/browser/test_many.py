"""The ways to give photos, and many of them at once, in a real Chromium."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.test_browser import BLACK, CAT, TEDDY, cards, choose, live, opened, photo, site
from tests.live import Live

__all__ = ["live", "site"]  # fixtures

HOSTILE = "=2+3 <b>🐻</b> \"'\u202e" + "x" * 200
PASTE = """([kind, data, place]) => {
  const given = new DataTransfer();
  if (kind === "text") given.setData("text", data);
  else given.items.add(new File([new Uint8Array(data)], "pasted.jpg", { type: "image/jpeg" }));
  const event = new ClipboardEvent("paste", { clipboardData: given, bubbles: true });
  document.querySelector(place ?? "main").dispatchEvent(event);
}"""


# A drop of files and folders as a browser tells of them: a test cannot drop real folders.
DROP = """(tree) => {
  const entry = (node, path) => ({
    isFile: !node.in,
    isDirectory: Boolean(node.in),
    fullPath: `${path}/${node.name}`,
    file: (take, fail) => (node.gone ? fail() : take(new File(["x"], node.name, { type: node.type ?? "image/jpeg" }))),
    createReader: () => {
      const rest = node.in.map((each) => entry(each, `${path}/${node.name}`));
      return { readEntries: (take) => setTimeout(() => take(rest.splice(0, 2))) };
    },
  });
  const event = new Event("drop", { bubbles: true, cancelable: true });
  const items = tree.map((node) => ({ webkitGetAsEntry: () => entry(node, "") }));
  Object.defineProperty(event, "dataTransfer", { value: { types: ["Files"], files: [], items } });
  document.querySelector("main").dispatchEvent(event);
}"""


def answered(page: Page, count: int) -> None:
    expect(cards(page)).to_have_count(count)
    expect(page.locator("[aria-busy]")).to_have_count(0)


def sources(page: Page) -> list[str]:
    return page.locator(".card:not([hidden]) .source").all_text_contents()


def test_a_pasted_photo_and_a_pasted_address(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live) as page:
        page.evaluate(PASTE, ["file", list(TEDDY)])
        page.evaluate(PASTE, ["text", f" http://{site}/teddy.jpg\n"])
        page.evaluate(PASTE, ["text", "just words"])
        answered(page, 2)
        assert sources(page) == [f"http://{site}/teddy.jpg", "pasted.jpg"]
        page.evaluate(PASTE, ["text", "http://x.test/", "#url"])
        assert len(sources(page)) == 2
        page.evaluate(PASTE, ["text", f"http://{site}/bear.jpg", "#file"])  # where the focus is after choosing
        answered(page, 3)


def test_a_link_with_an_address(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live) as page:
        page.goto(f"/?url=http://{site}/teddy.jpg")
        answered(page, 1)
        expect(cards(page).get_by_role("heading")).not_to_have_text("")


def test_a_folder(chromium: Browser, live: Live, tmp_path: Path) -> None:
    for name, content in (("a/1.jpg", TEDDY), ("a/b/2.jpg", BLACK), ("a/notes.txt", b"text"), (".hidden.jpg", CAT)):
        (tmp_path / "bears" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bears" / name).write_bytes(content)
    with opened(chromium, live) as page:
        page.get_by_label("Choose a whole folder").set_input_files(tmp_path / "bears")
        answered(page, 2)
        assert sources(page) == ["bears/a/1.jpg", "bears/a/b/2.jpg"]


def test_a_dropped_folder(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        choose(page, photo("cat.jpg"))
        answered(page, 1)
        expect(page.locator("#status")).to_have_css("clip-path", "inset(50%)")  # what it says, the card says
        page.evaluate(DROP, [{"name": "empty", "in": []}])
        expect(page.locator("#status")).to_have_text("There are no photos in that.")
        expect(page.locator("#status")).to_have_css("clip-path", "none")
        page.evaluate("document.querySelector('#clear').click()")
        inner = {"name": "c", "in": [{"name": "2.jpg"}, {"name": "notes.txt", "type": "text/plain"}]}
        page.evaluate(DROP, [{"name": "b", "in": [{"name": "1.jpg"}, {"name": "gone.jpg", "gone": True}, inner]}])
        answered(page, 2)
        assert sources(page) == ["b/1.jpg", "b/c/2.jpg"]


def reply(**shares: float) -> Callable[[Route], None]:
    """An answer by name of the file that is sent."""

    def fulfil(route: Route) -> None:
        body = route.request.post_data_buffer or b""
        share = next((value for name, value in shares.items() if f'filename="{name}.jpg"'.encode() in body), None)
        if share is None:
            route.fulfill(
                status=422, json={"error": {"code": "broken_image", "message": "Broken.", "hint": "Mend it."}}
            )
            return
        first = sorted([("grizzly", share), ("black", 1 - share)], key=lambda pair: -pair[1])
        image = {"format": "JPEG", "width": 9, "height": 9, "notes": []}
        verdict = first[0][0] if max(share, 1 - share) > 0.6 else "not sure"
        route.fulfill(json={"predictions": first, "verdict": verdict, "image": image})

    return fulfil


@pytest.fixture
def many(chromium: Browser, live: Live) -> Any:
    with opened(chromium, live) as page:
        page.route("**/upload*", reply(a=0.9, b=0.2, c=0.55, d=0.99))
        choose(page, *[photo(f"{name}.jpg", TEDDY) for name in "abcde"])
        answered(page, 5)
        yield page


def test_sorted_and_filtered(many: Page) -> None:
    assert sources(many) == [f"{name}.jpg" for name in "abcde"]
    many.get_by_label("Order").select_option("surest first")
    assert sources(many) == [f"{name}.jpg" for name in "dabce"]
    many.get_by_label("Order").select_option("least sure first")
    assert sources(many) == [f"{name}.jpg" for name in "cbade"]
    many.get_by_label("Order").select_option("by class")
    assert sources(many) == [f"{name}.jpg" for name in "bdace"]
    many.get_by_label("Show").select_option("grizzly")
    assert sources(many) == ["d.jpg", "a.jpg"]
    expect(many.locator("#status")).to_have_text("2 of 5 photos shown.")
    many.get_by_label("Show").select_option("Without an answer")
    assert sources(many) == ["e.jpg"]
    many.get_by_label("Show").select_option("Not sure")
    assert sources(many) == ["c.jpg"]
    many.get_by_role("button", name="Clear").click()
    expect(cards(many)).to_have_count(0)
    expect(many.get_by_role("group", name="All photos")).to_be_hidden()


def saved(page: Page, button: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    download.value.save_as(folder / "saved")
    return (folder / "saved").read_bytes()


def test_answers_as_csv(many: Page, tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(saved(many, "Answers as CSV", tmp_path).decode("utf-8-sig"))))
    assert rows[0] == ["file", "verdict", "black", "grizzly", "error"]
    assert [row[0] for row in rows[1:]] == [f"{name}.jpg" for name in "abcde"]
    assert [row[1] for row in rows[1:]] == ["grizzly", "black", "not sure", "grizzly", ""]
    assert float(rows[1][3]) == 0.9
    assert rows[5][-1] == "Broken."


def test_photos_in_folders(many: Page, tmp_path: Path) -> None:
    many.route("**/upload*", reply(a=0.9, d=0.99, **{"a (1)": 0.9, "A": 0.9, "d" * 300: 0.99}))
    choose(many, photo("a.jpg", BLACK), photo("a (1).jpg"), photo("A.jpg"), photo(f"{'d' * 300}.jpg"))
    answered(many, 9)
    with zipfile.ZipFile(io.BytesIO(saved(many, "Photos in folders", tmp_path))) as found:
        assert found.testzip() is None
        assert sorted(found.namelist()) == [
            "black/b.jpg", "grizzly/A (2).jpg", "grizzly/a (1) (1).jpg", "grizzly/a (1).jpg", "grizzly/a.jpg",
            "grizzly/d.jpg", f"grizzly/{'d' * 60}.jpg", "not sure/c.jpg",
        ]  # fmt: skip
        assert found.read("grizzly/d.jpg") == TEDDY
        assert BLACK in (found.read("grizzly/a.jpg"), found.read("grizzly/a (1).jpg"))


def test_hostile_names_do_no_harm(chromium: Browser, live: Live, tmp_path: Path) -> None:
    with opened(chromium, live) as page:
        choose(page, photo(f"{HOSTILE}.jpg", TEDDY), photo("../../x.jpg", TEDDY))
        answered(page, 2)
        assert page.locator("b").count() == 0
        rows = list(csv.reader(io.StringIO(saved(page, "Answers as CSV", tmp_path).decode("utf-8-sig"))))
        assert rows[1][0].startswith("'=2+3")
        with zipfile.ZipFile(io.BytesIO(saved(page, "Photos in folders", tmp_path))) as found:
            assert all(name.count("/") == 1 and ".." not in name.split("/") for name in found.namelist())


def test_a_request_that_is_cancelled_and_tried_again(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        held: list[Route] = []
        page.route("**/upload*", lambda route: held.append(route), times=1)
        choose(page, photo("teddy.jpg", TEDDY))
        expect(cards(page).locator("progress:visible, .cancel")).not_to_have_count(0)
        cards(page).get_by_role("button", name="Cancel").click()
        expect(cards(page)).to_contain_text("Cancelled.")
        cards(page).get_by_role("button", name="Try again").click()
        expect(cards(page).get_by_role("heading")).to_have_text("teddys")
        expect(cards(page)).not_to_contain_text("Cancelled.")
        assert len(held) == 1


def test_what_is_cleared_while_it_is_under_way_does_not_count(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        held: list[Route] = []
        page.route("**/upload*", lambda route: held.append(route), times=2)
        choose(page, photo("a.jpg", TEDDY), photo("b.jpg", TEDDY))
        expect(cards(page)).to_have_count(2)
        page.get_by_role("button", name="Clear").click()
        choose(page, photo("c.jpg", TEDDY), photo("d.jpg", BLACK))
        answered(page, 2)
        expect(page.locator("#status")).to_have_text("2 photos done.")


def test_what_stays_wrong_is_not_tried_again(many: Page) -> None:
    expect(cards(many).last).to_contain_text("Mend it.")
    expect(many.get_by_role("button", name="Try again")).to_have_count(0)


def test_five_classes_at_first(chromium: Browser, live: Live) -> None:
    shares = [[f"class {number}", 0.1] for number in range(9)]
    image = {"format": "JPEG", "width": 9, "height": 9, "notes": []}
    with opened(chromium, live) as page:
        page.route(
            "**/upload*",
            lambda route: route.fulfill(json={"predictions": shares, "verdict": "class 0", "image": image}),
        )
        choose(page, photo("teddy.jpg", TEDDY))
        answered(page, 1)
        expect(page.locator(".bar:visible")).to_have_count(5)
        page.get_by_role("button", name="Show all 9 classes").click()
        expect(page.locator(".bar:visible")).to_have_count(9)
        expect(page.get_by_role("button", name="class 5")).to_be_focused()


def test_the_request_for_developers(chromium: Browser, live: Live) -> None:
    with opened(chromium, live, permissions=["clipboard-read", "clipboard-write"]) as page:
        choose(page, photo('it\'s "a" bear.jpg', TEDDY))
        answered(page, 1)
        page.get_by_text("For developers").click()
        copy = page.get_by_role("button", name="Copy curl")
        copy.click()
        expect(page.get_by_role("button", name="Copied")).to_be_focused()
        expect(copy).to_be_focused()  # as it is called again after a while
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"""curl -F 'file=@"it'\\''s \\"a\\" bear.jpg"' {live.url}/upload"""
        answer = json.loads(page.locator("pre").nth(2).inner_text())
        assert answer["verdict"] == "teddys"
        assert set(answer) == {"predictions", "verdict", "model", "image"}
        compile(page.locator("pre").nth(1).inner_text(), "shown", "exec")


def keyed(route: Route) -> None:
    """The page of a service with a key, before one without."""
    page = route.fetch()
    route.fulfill(response=page, body=page.text().replace("data-short", 'data-key="1" data-short'))


def test_the_request_where_a_key_is_asked_for(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        page.route("**/", keyed)
        page.goto("/")
        choose(page, photo("bear.jpg", TEDDY))
        answered(page, 1)
        page.get_by_text("For developers").click()
        curl, python, _ = page.locator("pre").all_inner_texts()
        assert curl.startswith('curl -H "Authorization: Bearer $TELLAPART_API_KEY" -F ')
        assert python.startswith("import os\n\nimport httpx2\n")
        assert python.count("TELLAPART_API_KEY") == 1
        compile(python, "shown", "exec")
