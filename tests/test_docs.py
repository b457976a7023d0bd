"""/docs, the API's document as a page, and docs/api.md: both must say what the service does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from app import respond
from app.bundle import Bundle, read_bundle
from app.errors import CODES
from app.openapi import document
from app.schemas import MEANINGS
from app.settings import Settings
from tests.bundles import SHIPPED
from tests.live import ROOT, live_service
from tests.test_http import URL, running
from tests.test_page import HOSTILE, Strict, text
from tests.wire import TEDDY

BEARS = read_bundle(SHIPPED)
GUIDE = (ROOT / "docs" / "api.md").read_text()
KEY = "s3cret"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(api_key=KEY, feedback_dir=tmp_path_factory.mktemp("feedback")) as client:
        yield client


def render(bundle: Bundle, **settings: object) -> str:
    """The page for such a bundle."""
    described = document(Settings(**settings), bundle)
    shown = {"document": described, "errors": [], "everywhere": [], "base": "", "service": None}
    return bytes(respond.page("docs.html", shown).body).decode()


def test_the_page_shows_all_of_the_document(client: TestClient) -> None:
    html = client.get("/docs").text
    Strict().feed(html)
    shown = text(html)
    found = client.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert f'id="{operation["operationId"]}"' in html
            described = [f"{method.upper()} {path}", operation["summary"], operation.get("description", "")]
            described += [each["description"] for each in operation.get("parameters", [])]
            described += [
                response["description"] for status, response in operation["responses"].items() if status < "4"
            ]
            assert all(words in shown for words in described)
    for code, (status, hint) in CODES.items():
        assert f"{status} {code} {MEANINGS[code]} {hint}" in shown
    for name in found["components"]["schemas"]:
        assert f'id="schema-{name}"' in html
    assert "$TELLAPART_API_KEY" in html
    assert "$TELLAPART_API_KEY" not in render(BEARS)


def test_the_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere(client: TestClient) -> None:
    html = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in loaded)
    assert "<script" not in html
    marks = set(re.findall(r'id="([^"]*)"', html))
    assert {link[1:] for link in loaded if link.startswith("#")} <= marks
    for link in {link for link in loaded if link.startswith("/")}:
        assert client.get(link, auth=("", KEY)).status_code == 200, link


def test_its_commands_do_what_they_say(client: TestClient) -> None:
    html = client.get("/docs", headers={"Host": "bears.example.org:8001"}).text
    commands = [unescape(found) for found in re.findall(r"<pre[^>]*>(curl [^<]*)</pre>", html)]
    assert len(commands) == len(client.get("/openapi.json").json()["paths"])
    for command in commands:
        program, *words = shlex.split(command.replace("\\\n", " ").replace("$TELLAPART_API_KEY", KEY))
        assert program == "curl"
        request = httpx2.URL(next(word for word in words if word.startswith("http")))
        assert (request.host, request.port) == ("bears.example.org", 8001)
        headers, files, data, query, body = {}, {}, {}, {}, b""
        for flag, value in pairwise(words):
            if flag == "-H":
                headers |= dict([value.split(": ")])
            elif flag == "-F" and "=@" in value:
                files = {value.partition("=@")[0]: TEDDY}
            elif flag == "-F":
                data = dict([value.split("=", 1)])
            elif flag == "-d":
                body = value.encode()
            elif flag == "--data-binary":
                body = {"@photo.jpg": TEDDY}[value]
            elif flag == "--data-urlencode":
                query = dict([value.split("=", 1)])
        if "url" in query:
            assert "-G" in words
            query = {"url": URL}  # instead of the example's
        sent = {"content": body} if body else {"files": files or None, "data": data}
        answer = client.request("POST" if files or body else "GET", request.path, headers=headers, params=query, **sent)
        assert answer.status_code == 200, command


@pytest.mark.parametrize("host", ["$(reboot)", "a;b", "a b", "<b>", "evil.example/x", "", "[::1", "a:b"])
def test_no_host_of_the_clients_choosing_gets_into_a_command(client: TestClient, host: str) -> None:
    html = client.get("/docs", headers={"Host": host}).text
    assert re.search(r"curl http://(127\.0\.0\.1:8000|testserver)/livez", html)


@pytest.mark.parametrize("host", ["localhost", "10.0.0.5:9000", "[::1]:8000", "bears.example.org"])
def test_commands_name_the_host_that_was_asked(client: TestClient, host: str) -> None:
    assert f"curl http://{host}/livez" in client.get("/docs", headers={"Host": host}).text


def test_hostile_class_names_stay_text() -> None:
    html = render(replace(BEARS, name=HOSTILE[0], classes=tuple(HOSTILE)), url_hosts="none")
    Strict().feed(html)
    assert "<b>" not in html
    assert HOSTILE[0] in unescape(html)


def test_the_guide_lists_every_code_as_it_is() -> None:
    rows = [line for line in GUIDE.splitlines() if re.match(r"\| \d+ \| `", line)]
    expected = {f"| {status} | `{code}` | {MEANINGS[code]} | {hint} |" for code, (status, hint) in CODES.items()}
    assert set(rows) == expected
    assert rows == sorted(rows, key=lambda row: int(row[2:5]))


def test_the_guides_python_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert source
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(TEDDY)
    (tmp_path / "photos" / "2.jpg").write_bytes(b"text")
    monkeypatch.chdir(tmp_path)
    with live_service() as live:
        exec(source[1].replace("http://127.0.0.1:8000", live.url), {})
    assert capsys.readouterr().out == "teddys\nThis is not an image in a format that this service reads.\n"
