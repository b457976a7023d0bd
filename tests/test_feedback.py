"""Feedback: what is kept and where, what is refused, and that training reads it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from app.errors import Refusal, SettingError
from app.feedback import BLOCK, FeedbackFolder, check_label, check_same_site
from app.settings import Settings
from tests.drawings import bear, jpeg
from tests.live import ROOT, clean_env, free_port
from tests.photos import encode, upright
from tests.test_http import error, running
from tests.wire import TEDDY
from training.folders import scan

BEARS = ("black", "grizzly", "teddys")
ROOM = 10_000_000


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kept(folder: Path) -> dict[str, bytes]:
    """What lies below the folder: path → content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ── the folder ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_photo_is_kept_bit_for_bit_under_its_hash(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path / "a" / "b", ROOM)
    assert folder.keep(b"photo", "JPEG", "black")
    assert folder.keep(b"other", "WEBP", "none of these")
    assert kept(folder.folder) == {
        f"black/{hash_of(b'photo')}.jpg": b"photo",
        f"_none of these/{hash_of(b'other')}.webp": b"other",
    }


def test_the_same_photo_is_there_once_and_the_last_label_counts(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, ROOM)
    said = [folder.keep(b"photo", "PNG", label) for label in ("black", "black", "grizzly", "none of these", "grizzly")]
    assert said == [True, False, True, True, True]
    assert list(kept(tmp_path)) == [f"grizzly/{hash_of(b'photo')}.png"]


def refused(folder: FeedbackFolder, photo: bytes, label: str = "black") -> str:
    with pytest.raises(Refusal) as caught:
        folder.keep(photo, "JPEG", label)
    assert caught.value.code == "not_kept"
    return caught.value.message


def test_the_quota_counts_what_is_there_already(tmp_path: Path) -> None:
    FeedbackFolder(tmp_path, 2 * BLOCK).keep(b"x" * 60, "JPEG", "black")
    folder = FeedbackFolder(tmp_path, 2 * BLOCK)
    assert "keeps 0.008192 MB" in refused(folder, b"y" * (BLOCK + 1))
    assert folder.keep(b"z" * BLOCK, "JPEG", "black")
    assert folder.keep(b"z" * BLOCK, "JPEG", "grizzly"), "moving takes no room"


def test_tiny_photos_are_bounded_in_number(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, 3 * BLOCK)
    assert all(folder.keep(bytes([number]), "JPEG", "black") for number in range(3))
    refused(folder, b"x")


def test_a_folder_that_was_emptied_has_room_again(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, BLOCK)
    folder.keep(b"x" * 90, "JPEG", "black")
    refused(folder, b"y" * 90)
    next((tmp_path / "black").iterdir()).unlink()
    os.utime(tmp_path / "black")  # as if later: a kernel's clock for files ticks every few milliseconds
    assert folder.keep(b"y" * 90, "JPEG", "black")


def test_two_services_share_the_quota_and_each_photo_is_there_once(tmp_path: Path) -> None:
    one, other = FeedbackFolder(tmp_path, 2 * BLOCK), FeedbackFolder(tmp_path, 2 * BLOCK)
    assert one.keep(b"a", "JPEG", "black")
    assert other.keep(b"a", "JPEG", "grizzly")
    assert other.keep(b"b", "JPEG", "grizzly")
    refused(one, b"c", "teddys")
    assert sorted(kept(tmp_path)) == sorted(f"grizzly/{hash_of(photo)}.jpg" for photo in (b"a", b"b"))


def send_all(folder: Path) -> list[int]:
    """How many of 50 photos are kept, are there already, are refused."""
    shared, found = FeedbackFolder(folder, ROOM), [0, 0, 0]
    for number in range(50):
        try:
            found[0 if shared.keep(bytes([number]) * 5000, "JPEG", "black") else 1] += 1
        except Refusal:
            found[2] += 1
    return found


def test_services_take_turns(tmp_path: Path) -> None:
    """Each with a folder object of its own, as in processes of their own; without the lock some writes fail."""
    with ThreadPoolExecutor(3) as pool:
        kept_there_refused = [sum(column) for column in zip(*pool.map(send_all, [tmp_path] * 3), strict=True)]
    assert kept_there_refused == [50, 100, 0]
    assert len(kept(tmp_path)) == 50


def test_many_at_once_keep_to_the_quota_and_leave_nothing_behind(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, 3 * BLOCK)

    def send(number: int) -> bool:
        try:
            return folder.keep(bytes([number % 8]) * 300, "JPEG", BEARS[number % 3])
        except Refusal:
            return False

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(64)))
    found = kept(tmp_path)
    assert len(found) == 3
    assert {hash_of(content) + ".jpg" for content in found.values()} == {name.split("/")[1] for name in found}


def test_a_full_disk_is_told_and_gets_over(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, ROOM)
    part = tmp_path / "black" / f".{hash_of(b'photo')}.jpg.tmp"
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    assert refused(folder, b"photo") == "There is no room left."
    assert kept(tmp_path) == {}
    assert not part.is_symlink()
    assert folder.keep(b"photo", "JPEG", "black")


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, ROOM)
    (tmp_path / "black").write_text("a file")
    assert refused(folder, b"photo") == "The photo could not be written."
    assert folder.keep(b"photo", "JPEG", "grizzly")


def test_a_folder_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingError, match=r"feedback folder .*/file/below cannot be used: Not a directory\."):
        FeedbackFolder(tmp_path / "file" / "below", ROOM)


def test_a_service_does_not_start_with_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    command = [sys.executable, "-m", "app", "serve", "--port", str(free_port()), "--feedback-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "file" / "x")], cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("cannot be used: Not a directory.")


@pytest.mark.parametrize("label", [*BEARS, "none of these"])
def test_labels_that_are_taken(label: str) -> None:
    check_label(label, BEARS)


BAD_LABELS = [
    *("", "../x", "black/../..", "/etc", "black\0", "Black", "black ", "x" * 300, "_none of these", "not sure", "."),
    *("None of these", "..", "\u202eblack"),
]


@pytest.mark.parametrize("label", BAD_LABELS)
def test_labels_that_are_not(label: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_label(label, BEARS)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["..", ".hidden", "_aside", "a/b", "/etc"])
def test_a_class_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="cannot be that of a folder"):
        check_label(name, ["black", name])


HERE = {"host": "bears.example"}
SITES = [
    ({}, True),
    ({"sec-fetch-site": "same-origin", "origin": "https://bears.example"}, True),
    ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, True),
    ({"origin": "http://bears.example"}, True),
    ({"sec-fetch-site": "cross-site", "origin": "https://friend.example"}, True),
    ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
    ({"sec-fetch-site": "cross-site", "origin": "https://bears.example"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "same-site", "origin": "https://other.bears.example"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "https://bears.example.evil.example"}, False),
    ({"origin": "https://bears.example:8443"}, False),
]


@pytest.mark.parametrize(("headers", "taken"), SITES)
def test_what_other_sites_send_is_refused(headers: dict[str, str], taken: bool) -> None:
    try:
        check_same_site({**HERE, **headers}, ["https://friend.example"])
    except Refusal as refusal:
        assert (taken, refusal.code) == (False, "cross_site")
    else:
        assert taken


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running(feedback_dir=folder) as client:
        yield client


def send(client: TestClient, photo: bytes, label: str, **headers: str) -> httpx2.Response:
    return client.post("/feedback", files={"file": photo}, data={"label": label}, headers=headers)


def test_a_label_and_its_photo_are_kept(client: TestClient, folder: Path) -> None:
    before = client.get("/metrics").text
    assert "recent_agreement" not in before
    photo = jpeg(bear("black", 0))
    first = send(client, photo, "grizzly").json()
    assert first == {
        "label": "grizzly", "kept": True, "verdict": "black", "agrees": False, "model": first["model"],
    }  # fmt: skip
    assert send(client, photo, "grizzly").json()["kept"] is False
    assert send(client, TEDDY, "teddys").json()["agrees"] is True
    assert kept(folder) == {f"grizzly/{hash_of(photo)}.jpg": photo, f"teddys/{hash_of(TEDDY)}.jpg": TEDDY}
    figures = client.get("/metrics").text
    assert 'tellapart_feedback_total{agrees="false"} 2.0' in figures
    assert 'tellapart_feedback_total{agrees="true"} 1.0' in figures
    assert "tellapart_recent_agreement 0.3333333333333333" in figures
    assert "tellapart_recent_answers" not in figures, "what was answered before must not count twice"


REFUSED = {
    "text": (b"text", "black", {}, 415),
    "a broken photo": (TEDDY[:2000], "black", {}, 422),
    "another label": (TEDDY, "panda", {}, 400),
    "another site": (TEDDY, "black", {"Sec-Fetch-Site": "cross-site"}, 403),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_not_kept(client: TestClient, folder: Path, name: str) -> None:
    photo, label, headers, status = REFUSED[name]
    before = kept(folder)
    assert send(client, photo, label, **headers).status_code == status
    assert kept(folder) == before


def test_one_photo_and_one_label_are_wanted(client: TestClient) -> None:
    two = [("file", TEDDY), ("file", TEDDY)]
    assert error(client.post("/feedback", files=two, data={"label": "black"})) == (400, "bad_request")
    assert error(client.post("/feedback", files={"file": TEDDY})) == (400, "bad_request")
    assert error(client.post("/feedback", files={"file": TEDDY}, data={"label": ["black", "teddys"]})) == (
        400,
        "bad_request",
    )
    assert error(client.post("/feedback", data={"label": "black"})) == (400, "no_file")


def test_nothing_is_read_back(client: TestClient, folder: Path) -> None:
    name = next(iter(kept(folder)))
    assert client.get("/feedback").status_code == 405
    for path in (f"/feedback/{name}", f"/static/../{folder}/{name}", f"/{name}"):
        assert client.get(path).status_code == 404


def test_training_reads_the_folder_like_any_other(client: TestClient, folder: Path) -> None:
    send(client, encode(upright(), "PNG"), "none of these")
    rows, notes = scan(folder)
    assert {row.label for row in rows} == {"grizzly", "teddys"}
    assert not notes
    assert {row.sha256 for row in rows} == {Path(row.file).stem for row in rows}


def test_without_a_folder_it_is_off() -> None:
    with running() as client:
        assert error(send(client, TEDDY, "teddys")) == (404, "feedback_off")


def test_the_key_guards_it(tmp_path: Path) -> None:
    with running(feedback_dir=tmp_path, api_key="secret") as client:
        assert error(send(client, TEDDY, "teddys")) == (401, "unauthorized")
        assert send(client, TEDDY, "teddys", Authorization="Bearer secret").status_code == 200


def test_no_room_is_507(tmp_path: Path) -> None:
    with running(feedback_dir=tmp_path, feedback_max_mb=0.001) as client:
        assert error(send(client, TEDDY, "teddys")) == (507, "not_kept")
        assert kept(tmp_path) == {}


def test_the_default_is_off() -> None:
    assert Settings().feedback_dir is None
