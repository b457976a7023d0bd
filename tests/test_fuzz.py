"""Every address against the document that the service serves, by schemathesis: what it allows, what it forbids, and odd
requests; all checks, in this process, with the shipped bundle and a key.

No name is looked up and no packet leaves: the fetcher's `resolve` and `dial` are ours, so a URL that may be fetched
leads to a photo, or to what is none.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import httpcore2
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.python import asgi
from starlette.types import ASGIApp

from app.fetch import Fetcher, HostPolicy
from app.main import create_app
from app.settings import Settings
from tests.drawings import bear, jpeg
from tests.photos import encode
from tests.test_http import running as ready

KEY = "s3cret"
LONG_S = 60  # a hang guard: alone on two cores the whole run takes half of that
PHOTOS = [
    jpeg(bear("teddys", 0, (90, 72))),
    encode(bear("black", 1, (64, 80)), "PNG"),
    encode(Image.new("RGBA", (9, 1), (200, 10, 10, 99)), "PNG"),
]
OTHERS = [PHOTOS[0][:900], PHOTOS[1][:60] + bytes(40) + PHOTOS[1][100:], b"<html>"]
PHOTO_PATHS = ("/upload", "/classify-url", "/feedback")
MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
OTHER_APIS = ("/hf", "/v2", *(path + end for path in MODEL_PATHS for end in ("", "/ready", "/infer")))
FEW = 20  # examples for those: the photos are the same, and most GETs are tried without the key
CONFIG = {
    "seed": 4,
    "request-timeout": LONG_S,
    "generation": {"max-examples": 150, "unique-inputs": True, "no-shrink": True, "database": "none"},
    "checks": {"max_response_time": LONG_S},
    "phases": {"stateful": {"enabled": False}},  # whose links it guesses: from any answer's `name` to the model's
    "auth": {"openapi": {"bearer": {"bearer": KEY}}},
    # A body of the right shape may still be no photo, a URL of the right shape one that may not be fetched.
    "operations": [
        {
            "include-path": path,
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 304, 400, 413, 415, 422]}},
            "generation": {"max-examples": 150 if path in PHOTO_PATHS else FEW},
        }
        for path in (*PHOTO_PATHS, *OTHER_APIS)
    ],
}


class Site(httpcore2.AsyncNetworkStream):
    """A connection to a site that answers with these bytes, over TLS too."""

    def __init__(self, address: str, port: int, body: bytes) -> None:
        self.peer = (address, port)
        self.left = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        piece, self.left = self.left[:max_bytes], self.left[max_bytes:]
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        return

    async def aclose(self) -> None:
        return

    async def start_tls(self, *_args: object, **_options: object) -> Site:
        return self

    def get_extra_info(self, info: str) -> object:
        return self.peer if info == "server_addr" else None


async def resolve(host: str, port: int) -> list[str]:
    return [f"93.184.215.{crc32(host.encode()) % 256}"]


async def dial(address: str, port: int) -> Site:
    bodies = [*PHOTOS, *OTHERS]
    return Site(address, port, bodies[int(address.rpartition(".")[2]) % len(bodies)])


@contextmanager
def running(folder: Path) -> Iterator[ASGIApp]:
    """An app that is ready, in schemathesis's own event loop."""
    fetcher = Fetcher(HostPolicy.parse("public"), timeout_s=LONG_S, max_bytes=10**6, resolve=resolve, dial=dial)
    limits = {"max_upload_mb": 1.0, "request_timeout_s": float(LONG_S)}
    app = create_app(Settings(api_key=KEY, feedback_dir=folder, **limits), fetcher=fetcher)
    with asgi.get_client(app) as client:
        until = time.monotonic() + LONG_S
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        yield app


@schemathesis.hook
def flatmap_body(context: schemathesis.HookContext, body: Any) -> st.SearchStrategy[Any]:
    """Half of the files are photos, and so are most of those in base64."""
    photo, other = st.sampled_from(PHOTOS), st.sampled_from(OTHERS)
    if context.operation is not None and context.operation.path == "/hf":
        if isinstance(body, bytes):
            return st.one_of(photo, other)
        if isinstance(body, dict) and isinstance(body.get("inputs"), str):
            return photo.map(lambda chosen: {**body, "inputs": b64encode(chosen).decode()})
    if isinstance(body, dict) and "file" in body and isinstance(body.get("label"), str):
        return st.one_of(photo, other).map(lambda file: {**body, "file": file})
    if not isinstance(body, dict) or not isinstance(body.get("file"), list):
        return st.just(body)
    files = st.tuples(*(st.one_of(photo, photo, other, st.just(file)) for file in body["file"]))
    return files.map(lambda chosen: {**body, "file": list(chosen)})


def found_by(event: events.EngineEvent) -> list[str]:
    """What went wrong, in words, with the request that shows it."""
    if isinstance(event, events.NonFatalError):
        return [f"{event.label}: {event.value!r}"]
    if isinstance(event, events.FatalError):
        return [repr(event.exception)]
    if not isinstance(event, events.ScenarioFinished):
        return []
    checks = [check for checks in event.recorder.checks.values() for check in checks]
    failed = [check for check in checks if check.status != Status.SUCCESS]
    return [
        f"{event.label}, {check.name}: {info.failure}\n{info.code_sample[:2000]}"
        if (info := check.failure_info)
        else ""
        for check in failed
    ]


def test_the_service_does_what_its_document_says(tmp_path: Path) -> None:
    wrong: list[str] = []
    answers: Counter[tuple[str, int]] = Counter()
    with running(tmp_path) as app, asgi.get_client(app) as client:
        document = client.get("/openapi.json").json()
        api = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(CONFIG))
        api.app = app
        for event in from_schema(api).execute():
            wrong += found_by(event)
            if isinstance(event, events.ScenarioFinished):
                asked = [each.response for each in event.recorder.interactions.values()]
                answers.update((event.label.split()[1], response.status_code) for response in asked)
    assert not wrong, "\n\n".join(wrong)
    assert {path for path, status in answers if status == 200} == document["paths"].keys()
    assert {path for path, status in answers if status == 405} == document["paths"].keys()
    assert {status for path, status in answers if path == "/hf"} >= {200, 400, 401, 405, 415, 422}
    assert {status for path, status in answers if path.endswith("/infer")} >= {200, 400, 401, 404, 405}
    assert {status for path, status in answers if path == "/upload"} >= {200, 400, 401, 405, 415, 422}
    assert {status for path, status in answers if path == "/feedback"} >= {200, 400, 401, 405, 415, 422}
    assert {status for path, status in answers if path == "/classify-url"} >= {200, 400, 401, 405, 415, 422}
    assert answers["/upload", 200] >= 50


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
END = b"\r\n--b--\r\n"
PIECES = [b"", b"\r\n", b"--b", b"--b--", b'"', b"; name=", FORM, END]
PLAIN = "multipart/form-data; boundary=b"
KINDS = [
    *[PLAIN] * 8, "", "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="b"',
    "multipart/form-data; boundary=other", f"{PLAIN}; charset=utf-7", f"{PLAIN}; boundary=c",
    "multipart/mixed; boundary=b", "application/json", "application/x-www-form-urlencoded", "image/jpeg", ";;;=",
]  # fmt: skip
TOKENS = [
    "top_k", "explain", "thumbnail", "=", "=", "&", ";", "1", "0", "2", "-1", "%", "%ff", "%00", "+", "teddys", "é",
    "[]",
]  # fmt: skip


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form with a photo, up to three times a few bytes cut out or replaced: mostly where its structure is."""
    body = FORM + PHOTOS[0] + END
    for _ in range(draw(st.integers(0, 3))):
        size = len(body)
        places = st.integers(0, len(FORM)), st.integers(size - len(END) - 1, size), st.integers(0, size)
        start = draw(st.one_of(places))
        put = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)))
        body = body[:start] + put + body[start + draw(st.integers(0, 12)) :]
    return body


def test_malformed_forms_and_queries_get_a_documented_answer() -> None:
    answers: Counter[int] = Counter()
    with ready() as client:
        found = client.get("/openapi.json").json()
        described = found["paths"]["/upload"]["post"]["responses"]

        @settings(derandomize=True, max_examples=300, deadline=None, database=None)
        @given(forms(), st.sampled_from(KINDS), st.lists(st.sampled_from(TOKENS), max_size=6))
        def check(form: bytes, kind: str, query: list[str]) -> None:
            response = client.post(f"/upload?{''.join(query)}", content=form, headers={"Content-Type": kind})
            answers[response.status_code] += 1
            schema = described[str(response.status_code)]["content"]["application/json"]["schema"]
            Draft202012Validator({**schema, "components": found["components"]}).validate(response.json())
            assert response.status_code < 500

        check()
    assert answers.keys() >= {200, 400, 422}
