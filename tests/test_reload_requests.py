"""What requests see of a reload, with real bundles, and what is left of the bundle before."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.classifier import Classifier, load_classifier
from app.errors import BundleError
from app.fetch import Fetcher, HostPolicy
from app.main import create_app
from app.settings import Settings
from tests import bundles
from tests.bundles import point
from tests.wire import HANG_S, TEDDY, until

URL = "https://photos.example.org/teddy.jpg"


class Meanwhile(Fetcher):
    """Fetches the drawn teddy; `meanwhile` is called first, if there is one."""

    def __init__(self) -> None:
        super().__init__(HostPolicy.parse("public"), timeout_s=1, max_bytes=10**6)
        self.meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def fetch(self, url: str) -> bytes:
        if self.meanwhile is not None:
            await self.meanwhile()
        return TEDDY


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.shelf(tmp_path_factory.mktemp("models"))


@contextmanager
def serving(model: Path, **settings: object) -> Iterator[tuple[TestClient, Meanwhile]]:
    """A client of an app that is ready, and its fetcher."""
    fetcher = Meanwhile()
    app = create_app(replace(Settings(), model=model, request_timeout_s=HANG_S, **settings), fetcher=fetcher)
    with TestClient(app) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client, fetcher


def reload(client: TestClient) -> str:
    """Reload, wait for the end, and say how it ended."""
    before = client.get("/model").json()["plan"]["last_reload"]
    client.portal.call(client.app.state.service.reload)  # type: ignore[attr-defined]
    until(lambda: client.get("/model").json()["plan"]["last_reload"] != before)
    after = client.get("/model").json()["plan"]["last_reload"]
    assert after.keys() == {"at", "outcome"}
    return str(after["outcome"])


def upload(client: TestClient, photo: bytes = TEDDY, query: str = "") -> Any:
    return client.post(f"/upload{query}", files={"file": photo})


def test_a_request_keeps_the_bundle_that_it_began_with(shelf: Path, tmp_path: Path) -> None:
    """In all of its answer: predictions, heat map, version, ETag, the page around it."""
    link = tmp_path / "current"
    point(link, shelf / "bears")
    with serving(link) as (client, fetcher):
        service = client.app.state.service  # type: ignore[attr-defined]
        names = ("teddys", "nuigurumi")
        for name, target, headers in zip(names, ("others", "bears"), ({}, {"Accept": "text/html"}), strict=True):
            before = service.classifier.bundle
            assert name in before.classes

            async def swap(target: str = target, before: Any = before) -> None:
                point(link, shelf / target)
                service.reload()
                while service.classifier.bundle is before:
                    await asyncio.sleep(0.01)

            fetcher.meanwhile = None
            plain = client.get(f"/classify-url?url={URL}&explain={name}", headers=headers)
            fetcher.meanwhile = swap
            during = client.get(f"/classify-url?url={URL}&explain={name}", headers=headers)
            assert plain.status_code == 200
            assert (during.text, during.headers["etag"]) == (plain.text, plain.headers["etag"])
            assert name not in service.classifier.bundle.classes


def test_other_classes_are_for_the_next_request(shelf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    link = tmp_path / "current"
    point(link, shelf / "bears")
    with serving(link) as (client, _):
        tag = client.get(f"/classify-url?url={URL}").headers["etag"]
        before = upload(client).json()
        assert client.get(f"/classify-url?url={URL}", headers={"If-None-Match": tag}).status_code == 304
        point(link, shelf / "others")
        assert reload(client) == "loaded"
        after = upload(client).json()
        assert after["predictions"] == [[bundles.OTHERS[name], share] for name, share in before["predictions"]]
        assert after["model"]["version"] != before["model"]["version"]
        assert client.get("/model").json()["version"] == after["model"]["version"]
        fresh = client.get(f"/classify-url?url={URL}", headers={"If-None-Match": tag})
        assert (fresh.status_code, fresh.json()) == (200, after)
        assert upload(client, query="?explain=nuigurumi").status_code == 200
        assert upload(client, query="?explain=teddys").status_code == 400
    versions = f"bears {after['model']['version']} is at work instead of bears {before['model']['version']}"
    classes = "with other classes: kuma, haiiroguma, nuigurumi"
    assert [r.getMessage() for r in caplog.records if r.name == "tellapart" and r.msg != "request"] == [
        f"Reloaded: {versions}, {classes}."
    ]


def test_a_bundle_that_fails_its_checks_is_refused_and_the_old_one_goes_on(
    shelf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = tmp_path / "current"
    point(link, shelf / "bears")
    with serving(link) as (client, _):
        before = upload(client).json()
        assert client.get("/model").json()["plan"]["last_reload"] is None
        for target in (shelf / "broken", tmp_path):
            caplog.clear()
            point(link, target)
            assert reload(client) == "refused"
            (record,) = [record for record in caplog.records if record.name == "tellapart"]
            with pytest.raises(BundleError) as at_a_start:
                load_classifier(target, "openvino", 2)
            stays = f"bears {before['model']['version']} stays at work"
            assert record.getMessage() == f"Reload refused, {stays}: {at_a_start.value}"
            assert record.exc_info is None
            assert client.get("/readyz").status_code == 200
            assert upload(client).json() == before
            assert str(tmp_path) not in client.get("/model").text


def test_a_bundle_changed_on_disk_changes_nothing_before_a_reload(shelf: Path, tmp_path: Path) -> None:
    """Neither the first one nor one that a reload put to work."""
    model = tmp_path / "model"
    shutil.copytree(shelf / "bears", model)
    with serving(model) as (client, _):
        before = upload(client).json()
        for name in ("swapped", "bears"):
            for source in (shelf / name).rglob("*"):
                if source.is_file():
                    target = model / source.relative_to(shelf / name)
                    target.write_bytes(bytes(target.stat().st_size))
                    shutil.copyfile(source, target)
            assert upload(client).json() == before
            assert reload(client) == "loaded"
            before = upload(client).json()
            assert before["verdict"] == ("black" if name == "swapped" else "teddys")


# ── what is left of the one before ────────────────────────────────────────────────────────────────────────────────────


def test_the_old_bundle_is_gone_with_its_last_request(shelf: Path, tmp_path: Path) -> None:
    """At once, without a garbage collection, whatever came of its requests, while the threads that ran it live on."""
    link = tmp_path / "current"
    point(link, shelf / "bears")
    gc.disable()
    try:
        with serving(link, threads=2) as (client, _):
            service = client.app.state.service  # type: ignore[attr-defined]
            with ThreadPoolExecutor(4) as pool:
                photos = [TEDDY, b"text", TEDDY[:2000], TEDDY] * 4
                codes = [response.status_code for response in pool.map(lambda data: upload(client, data), photos)]
            assert codes == [200, 415, 422, 200] * 4
            old, engine = weakref.ref(service.classifier), weakref.ref(service.classifier.engine)
            point(link, shelf / "broken")
            assert reload(client) == "refused"
            assert old() is not None
            point(link, shelf / "swapped")
            assert reload(client) == "loaded"
            until(lambda: old() is None)
            until(lambda: engine() is None)
            assert upload(client).json()["verdict"] == "black"
    finally:
        gc.enable()


def test_what_a_thread_keeps_of_an_engine_goes_with_the_engine(shelf: Path) -> None:
    together = threading.Barrier(2)

    def use(classifier: Classifier) -> weakref.ref[Any]:
        together.wait(HANG_S)
        classifier.classify(TEDDY)
        return weakref.ref(classifier.engine._requests.own)  # type: ignore[attr-defined]

    with ThreadPoolExecutor(2) as pool:
        classifier = load_classifier(shelf / "bears", "openvino", 2)
        kept = [future.result() for future in [pool.submit(use, classifier) for _ in range(2)]]
        assert len({id(reference()) for reference in kept} - {id(None)}) == 2
        del classifier
        until(lambda: [reference() for reference in kept] == [None, None])
