"""What a link to an answer shows where it is shared, and titles: plain text of whatever classes and URLs are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from app import respond
from app.assets import asset
from app.preview import in_short, likeliest, link
from tests.test_http import HTML, URL, running
from tests.test_page import HOSTILE, LONG, MARKUP, Strict, answer, serving, without_marks

URLS = [
    URL,
    f"https://example.org/{MARKUP}",
    "https://example.org/?a=1&url=https://other.example/&x=%22%26#' onload=\"",
    "javascript:alert(1)",
    "https://example.org/\u202egpj.🐻\n",
    "https://example.org/{{ 7 * 7 }}",
]


class Metas(Strict):
    """What <meta> elements say, and the title."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        given = dict(attrs)
        if tag == "meta" and (name := given.get("property") or given.get("name")):
            assert given.keys() == {"property" if "property" in given else "name", "content"}
            self.said[name] = given["content"] or ""

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self.open[-1:] == ["title"]:
            self.said["title"] = data


def metas(html: str) -> dict[str, str]:
    reader = Metas()
    reader.feed(html)
    return reader.said


def asked(host: str = "photos.example:8000", **more: str) -> Request:
    """A request that reached the service by this name, with more headers, _ for -."""
    given = {"host": host, **more}
    headers = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "scheme": "http", "path": "/classify-url", "query_string": b"", "headers": headers})


def shown(content: dict[str, Any], url: str) -> dict[str, str]:
    """The tags of the page for an answer to GET /classify-url?url=…"""
    state = {"service": serving(["a", "b"]), "link": link(asked(), 8000, url)}
    scope = {"type": "http", "headers": [(b"accept", b"text/html")], "state": state}
    return metas(bytes(respond.answer(scope, "index.html", content).body).decode())


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


def test_a_link_to_an_answer_says_what_it_is(client: TestClient) -> None:
    query = {"url": URL, "top_k": "2"}
    said = metas(client.get("/classify-url", params=query, headers=HTML | {"Host": "bears.example"}).text)
    predictions = client.get("/classify-url", params=query).json()["predictions"]  # */*: JSON
    assert said["title"] == "teddys · tellapart"
    assert said["og:title"] == "teddys"
    described = ", ".join(f"{name} {100 * p:.1f}\u00a0%" for name, p in predictions)
    assert without_marks(said["og:description"]) == described
    assert said["og:type"] == "website"
    assert said["og:image"] == f"http://bears.example{asset('icon-512.png')}"
    assert said["twitter:card"] == "summary"
    again = client.get(said["og:url"].removeprefix("http://bears.example"))
    assert again.json()["predictions"][:2] == predictions
    image = client.get(said["og:image"].removeprefix("http://bears.example"))
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")


def test_no_other_page_has_a_link_to_itself(client: TestClient) -> None:
    refused = client.get("/classify-url", params={"url": "https://photos.example.org/x"}, headers=HTML)
    assert refused.status_code == 415
    for html in (refused.text, client.get("/", headers=HTML).text, client.get("/model", headers=HTML).text):
        assert not [name for name in metas(html) if name.startswith(("og:", "twitter:"))]


@pytest.mark.parametrize("url", URLS)
def test_hostile_names_and_urls_stay_text(url: str) -> None:
    said = shown(answer([[name, 0.25] for name in HOSTILE]), url)
    assert said["title"] == f"{MARKUP} · tellapart"
    assert said["og:title"] == MARKUP
    assert without_marks(said["og:description"]).startswith(f"{MARKUP} 25.0\u00a0%, {LONG[:59]}…")
    assert said["og:description"].startswith(f"\u2068{MARKUP}\u2069")  # which does not turn the rest around
    assert len(said["og:description"]) < 250
    address = urlsplit(said["og:url"])
    assert (address.scheme, address.netloc, address.path) == ("http", "photos.example:8000", "/classify-url")
    assert parse_qs(address.query) == {"url": [url]}
    assert said["og:url"].isascii()
    assert said["og:image"] == f"http://photos.example:8000{asset('icon-512.png')}"


@pytest.mark.parametrize("host", ["evil.example/x", 'a"><script>', "a b", "user@a", "a;b", "$(id)", "", "\xe9"])
def test_a_host_that_is_none_is_not_passed_on(host: str) -> None:
    found = link(asked(host), 8123, URL)
    assert found["url"].startswith("http://127.0.0.1:8123/classify-url?")
    assert found["image"].startswith("http://127.0.0.1:8123/static/")


@pytest.mark.parametrize(
    ("said", "scheme"), [("https", "https"), ("http", "http"), ("javascript", "http"), ("", "http")]
)
def test_a_proxy_may_say_that_it_is_https(said: str, scheme: str) -> None:
    found = link(asked(x_forwarded_proto=said), 8000, URL)
    assert {urlsplit(each).scheme for each in found.values()} == {scheme}


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("not sure", "Not sure: \u2068grizzly\u2069 or \u2068black\u2069"),
        ("none of these", "None of these"),
        ("grizzly", "grizzly"),
        (LONG, f"{LONG[:59]}…"),
    ],
)
def test_verdicts_in_a_line(verdict: str, words: str) -> None:
    found = answer([["grizzly", 0.5], ["black", 0.3], ["teddys", 0.15], ["panda", 0.05]], verdict)
    assert in_short(found) == words
    assert without_marks(likeliest(found)) == "grizzly 50.0\u00a0%, black 30.0\u00a0%, teddys 15.0\u00a0%"
    assert shown(found, URL)["title"] == f"{words} · tellapart"


def test_of_one_class_alone() -> None:
    assert in_short(answer([["grizzly", 0.5]], "not sure")) == "Not sure: \u2068grizzly\u2069"
