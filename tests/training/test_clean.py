"""The clean page's lists, decisions and moves, and who may ask for them."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.training.clean_run import cleaning, make_run
from tests.training.conftest import Draw, picture
from training import clean, quarantine
from training.clean_list import read_neighbours
from training.clean_server import create_app
from training.clean_session import Session
from training.errors import TrainingError
from training.history import read_predictions
from training.run_folder import read_run

PORT, TOKEN = 8123, "secret"
HERE = f"http://127.0.0.1:{PORT}"
PATHS = ("/", "/list", "/near/0", "/photo/0", "/thumb/0", "/changes", "/static/clean.js")
SIDES = {f"disc/0{n}.jpg": "train" for n in range(4)} | {"disc/04.jpg": "validation", "square/04.jpg": "validation"}
SIDES |= {f"square/0{n}.jpg": "train" for n in range(4)}
TRUTH = dict(zip(sorted(SIDES), (0.9, 0.1, 0.8, 0.7, 0.6, 0.95, 0.99, 0.2, 0.98, 0.3), strict=True))


@pytest.fixture
def run(draw: Draw, tmp_path: Path) -> Path:
    """Ten photos of two classes, each judged out of fold."""
    return make_run(tmp_path / "run 1", draw(disc=5, square=5), TRUTH, SIDES)


def session(run: Path, work: Path | None = None) -> Session:
    found = read_run(run)
    return Session(found, work or found.data / "_tellapart", read_predictions(run), read_neighbours(found))


def visitor(run: Path, work: Path | None = None) -> TestClient:
    """A browser that has not been given the token."""
    return TestClient(create_app(session(run, work), TOKEN, PORT), HERE, raise_server_exceptions=False)


def opened(run: Path, work: Path | None = None) -> TestClient:
    """A browser that opened the address which the command printed."""
    client = visitor(run, work)
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    return client


def files(client: TestClient, side: str) -> list[str]:
    return [photo["file"] for photo in client.get("/list").json()["sides"][side]]


def row(client: TestClient, file: str) -> dict[str, Any]:
    sides: dict[str, list[dict[str, Any]]] = client.get("/list").json()["sides"]
    return next(photo for photos in sides.values() for photo in photos if photo["file"] == file)


def decide(client: TestClient, file: str, decision: str, to: str = "") -> Any:
    return client.post("/decide", json={"row": row(client, file)["row"], "decision": decision, "to": to})


def apply(client: TestClient) -> Any:
    return client.post("/apply", json={"check": client.get("/changes").json()["check"]})


def saved(run: Path, name: str = "decisions.csv") -> list[list[str]]:
    with (run / name).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [line[:4] for line in csv.reader(file)][1:]


# What is shown


def test_worst_first_and_the_sides_apart(run: Path) -> None:
    client = opened(run)
    assert files(client, "validation") == ["square/04.jpg", "disc/04.jpg"]
    worst_first = sorted((file for file in SIDES if SIDES[file] == "train"), key=lambda file: TRUTH[file])
    assert files(client, "train") == worst_first
    shown = row(client, "disc/01.jpg")
    assert (shown["label"], shown["probabilities"]) == ("disc", [0.1, 0.9])
    assert shown["loss"] == pytest.approx(2.302585)


def test_training_photos_of_one_split_by_their_neighbours(draw: Draw, tmp_path: Path) -> None:
    """disc/00 lies among the squares, so some of those have it among their five nearest; no other disc has a square."""
    data = draw(disc=8, square=8)
    names = [f"{label}/0{n}.jpg" for label in ("disc", "square") for n in range(8)]
    features = {name: [float(name.startswith("square")), 1.0, int(name[-5]) / 10] for name in names}
    features["disc/00.jpg"] = [1.0, 1.0, 0.33]
    sides = dict.fromkeys(names, "train") | {"disc/07.jpg": "validation"}
    client = opened(make_run(tmp_path / "run", data, {"disc/07.jpg": 0.4}, sides, features))
    assert files(client, "validation") == ["disc/07.jpg"]
    listed = files(client, "train")
    assert listed[0] == "disc/00.jpg"
    assert "disc/02.jpg" not in listed
    assert row(client, "disc/00.jpg")["strangers"] == 1.0
    assert row(client, "square/03.jpg")["strangers"] == 0.2
    assert "loss" in row(client, "square/03.jpg")
    near = client.get(f"/near/{row(client, 'disc/00.jpg')['row']}").json()
    assert [photo["file"] for photo in near[:2]] == ["square/03.jpg", "square/04.jpg"]
    assert {photo["label"] for photo in near} == {"square"}
    assert len(near) == 6


def test_a_run_without_features_has_no_neighbours(run: Path) -> None:
    assert opened(run).get("/near/0").json() == []


def test_features_of_other_photos_are_refused(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", tmp_path / "data", {}, {"disc/00.jpg": "train"}, {"disc/00.jpg": [1.0]})
    (run / "features.safetensors").write_bytes((other / "features.safetensors").read_bytes())
    with pytest.raises(TrainingError, match="not about the photos"):
        session(run)
    (run / "features.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(TrainingError, match="cannot be read"):
        session(run)


def test_photos_are_shown_upright_small_and_without_metadata(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=2)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    picture("disc", 9, (1600, 800)).save(data / "disc/00.jpg", exif=exif)
    client = opened(make_run(tmp_path / "run", data, {}, dict.fromkeys(("disc/00.jpg", "disc/01.jpg"), "train")))
    for address, size in (("/photo/0", (600, 1200)), ("/thumb/0", (120, 240)), ("/photo/1", (120, 90))):
        response = client.get(address)
        assert response.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(response.content)) as shown:
            assert (shown.format, shown.size, dict(shown.getexif())) == ("JPEG", size, {})
        assert b"where I live" not in response.content


@pytest.mark.parametrize(
    "path", ["/photo/10", "/photo/-1", "/photo/disc/00.jpg", "/photo/..%2Frun.json", "/static/../x"]
)
def test_nothing_but_photos_of_the_run_is_served(run: Path, path: str) -> None:
    assert opened(run).get(path).status_code == 404


def test_a_missing_or_changed_photo_is_told_of_and_not_moved(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data/disc/00.jpg").unlink()
    picture("square", 77).save(tmp_path / "data/disc/01.jpg")
    (tmp_path / "data/disc/02.jpg").write_bytes(b"")
    client = opened(run)
    assert [row(client, f"disc/0{n}.jpg")["there"] for n in range(3)] == [False, True, True]
    for n, (status, words) in enumerate([(404, "no longer"), (409, "changed"), (409, "changed")]):
        for response in (client.get(f"/photo/{n}"), decide(client, f"disc/0{n}.jpg", "delete")):
            assert response.status_code == status
            assert words in response.json()["error"]
        assert decide(client, f"disc/0{n}.jpg", "keep").status_code == 200


# What is decided


def test_each_decision_is_saved_and_taken_up_again(run: Path) -> None:
    client = opened(run)
    assert decide(client, "disc/00.jpg", "delete").json()["decision"] == "delete"
    assert saved(run) == [["disc/00.jpg", "disc", "delete", ""]]
    decide(client, "square/01.jpg", "relabel", "disc")
    decide(client, "disc/00.jpg", "keep")
    again = opened(run)
    assert row(again, "disc/00.jpg")["decision"] == "keep"
    assert (row(again, "square/01.jpg")["decision"], row(again, "square/01.jpg")["to"]) == ("relabel", "disc")
    assert row(again, "disc/02.jpg")["decision"] is None


def test_undo_steps_back_to_what_was_decided_before(run: Path) -> None:
    client = opened(run)
    decide(client, "disc/00.jpg", "keep")
    decide(client, "disc/00.jpg", "delete")
    undone = opened(run).post("/undo", json={}).json()  # also after a restart
    assert (undone["row"], undone["decision"]) == (0, "keep")
    client = opened(run)
    assert client.post("/undo", json={}).json()["decision"] is None
    assert client.post("/undo", json={}).status_code == 409
    assert saved(run) == []


@pytest.mark.parametrize(
    "body",
    [
        {"row": 0, "decision": "burn"},
        {"row": 0, "decision": "relabel", "to": "disc"},
        {"row": 0, "decision": "relabel", "to": "../x"},
        {"row": 0, "decision": "relabel"},
        {"row": 0, "decision": "delete", "to": "square"},
        {"row": "0", "decision": "keep"},
        {"row": True, "decision": "keep"},
        {"row": 10, "decision": "keep"},
        {"row": -1, "decision": "keep"},
        {"decision": "keep"},
        [],
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(run: Path, body: Any) -> None:
    response = opened(run).post("/decide", json=body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]
    assert not (run / "decisions.csv").exists()


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"\xff", 400), (b" " * 20_000, 413)])
def test_a_body_that_is_none(run: Path, body: bytes, status: int) -> None:
    assert opened(run).post("/decide", content=body).status_code == status


def test_any_file_name_survives(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=3)
    names = ['disc/=1+1, "ä" B.jpg', "disc/@sum\n.JPG", os.fsdecode(b"disc/\xff\xfe.jpg")]
    for old, new in zip(sorted((data / "disc").iterdir()), names, strict=True):
        old.rename(data / new)
    run = make_run(tmp_path / "run", data, dict.fromkeys(names, 0.5), dict.fromkeys(names, "train"), classes=["square"])
    client = opened(run)
    assert {photo["label"] for photo in client.get("/list").json()["sides"]["train"]} == {"disc"}
    for n in range(3):
        assert client.get(f"/photo/{n}").status_code == 200
        assert client.post("/decide", json={"row": n, "decision": "delete"}).status_code == 200
    assert [line[0] for line in saved(run)] == sorted(names)
    assert len(opened(run).get("/changes").json()["changes"]) == 3
    assert apply(opened(run)).json()["quarantined"] == 3


@pytest.mark.parametrize(
    "text",
    [
        "file,class\na,b\n",
        "file,class,decision,label,when\ndisc/00.jpg,disc,burn,,\n",
        "file,class,decision,label,when\ndisc/00.jpg,disc,relabel,cat,\n",
        "file,class,decision,label,when\n../x.jpg,disc,delete,,\n",
    ],
)
def test_decisions_that_are_none_of_this_run_are_refused(run: Path, text: str) -> None:
    (run / "decisions.csv").write_text(text)
    with pytest.raises(TrainingError, match=r"decisions\.csv"):
        session(run)


# What is moved


def test_apply_moves_what_was_confirmed_and_one_command_undoes_it(run: Path, tmp_path: Path) -> None:
    client, data = opened(run), tmp_path / "data"
    before = {path: path.read_bytes() for path in data.rglob("*.jpg")}
    decide(client, "disc/00.jpg", "delete")
    decide(client, "square/01.jpg", "relabel", "disc")  # where another 01.jpg lies
    decide(client, "disc/02.jpg", "keep")
    assert {path: path.read_bytes() for path in data.rglob("*.jpg")} == before
    told = apply(client).json()
    assert (told["quarantined"], told["relabelled"], told["left"]) == (1, 1, [])
    assert told["undo"] == f"python -m training verify {data} --undo"
    assert [line.split()[3] for line in told["next"]] == ["split", "train", "compare"]
    assert told["next"][1].endswith(f"--out '{run}-cleaned'")
    assert told["next"][2].endswith(f"compare '{run}' '{run}-cleaned'")
    assert sorted(path.read_bytes() for path in data.rglob("*.jpg")) == sorted(before.values())
    assert (data / "_tellapart/quarantine/disc/00.jpg").is_file()
    assert len(list((data / "disc").iterdir())) == 5
    assert not row(client, "disc/00.jpg")["there"]
    assert [line[0] for line in saved(run)] == ["disc/02.jpg"]
    assert [line[0] for line in saved(run, "decisions-applied-1.csv")] == ["disc/00.jpg", "square/01.jpg"]
    quarantine.undo(data, data / "_tellapart")
    assert {path: path.read_bytes() for path in data.rglob("*.jpg")} == before


def test_a_second_apply_is_harmless(run: Path) -> None:
    client = opened(run)
    decide(client, "disc/00.jpg", "delete")
    check = client.get("/changes").json()["check"]
    assert client.post("/apply", json={"check": check}).status_code == 200
    for again in (client, opened(run)):
        assert again.get("/changes").json()["changes"] == []
        assert again.post("/apply", json={"check": check}).status_code == 409
        assert apply(again).status_code == 409


def test_only_what_was_listed_is_moved(run: Path, tmp_path: Path) -> None:
    client = opened(run)
    decide(client, "disc/00.jpg", "delete")
    check = client.get("/changes").json()["check"]
    decide(client, "disc/01.jpg", "delete")  # in another window, say
    for stale in (check, None, ""):
        assert client.post("/apply", json={"check": stale}).status_code == 409
    assert (tmp_path / "data/disc/00.jpg").is_file()


def test_a_photo_that_changed_after_the_decision_is_left_alone(run: Path, tmp_path: Path) -> None:
    client = opened(run)
    decide(client, "disc/00.jpg", "delete")
    decide(client, "disc/01.jpg", "delete")
    picture("square", 77).save(tmp_path / "data/disc/00.jpg")
    told = apply(client).json()
    assert (told["quarantined"], told["left"]) == (1, ["disc/00.jpg"])
    assert (tmp_path / "data/disc/00.jpg").is_file()


def test_a_move_that_fails_is_told_and_nothing_is_lost(run: Path, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file where a folder should be")
    client = opened(run, tmp_path / "work")
    decide(client, "disc/00.jpg", "delete")
    response = apply(client)
    assert response.status_code == 500
    assert "work" in response.json()["error"]
    assert (tmp_path / "data/disc/00.jpg").is_file()
    assert len(client.get("/changes").json()["changes"]) == 1


def test_photos_go_where_work_says_and_the_commands_name_it(run: Path, tmp_path: Path) -> None:
    client = opened(run, tmp_path / "work here")
    decide(client, "disc/00.jpg", "delete")
    assert f"--work '{tmp_path}/work here'" in apply(client).json()["undo"]
    assert (tmp_path / "work here/quarantine/disc/00.jpg").is_file()


# Who may ask


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_to_whoever_does_not_know_the_token(run: Path, path: str) -> None:
    client = visitor(run)
    tries = [{}, {"params": {"token": "guess"}}, {"params": {"token": ""}}]
    tries += [{"headers": {"Cookie": f"tellapart-{PORT}={value}"}} for value in ("guess", "", '"', "\\377")]
    for given in tries:
        assert client.get(path, **given).status_code == 403
    assert opened(run).get(path).status_code == 200


def test_the_token_leaves_the_address_for_a_cookie_that_scripts_cannot_read(run: Path) -> None:
    response = visitor(run).get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert cookie.startswith(f"tellapart-{PORT}={TOKEN};")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie


def test_the_token_opens_only_the_page(run: Path) -> None:
    assert visitor(run).get("/list", params={"token": TOKEN}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.test", f"evil.test:{PORT}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.:{PORT}", ""]
)
def test_another_name_for_this_machine_is_refused(run: Path, host: str) -> None:
    client = opened(run)
    assert client.get("/list", headers={"Host": host}).status_code == 403
    assert client.get("/", params={"token": TOKEN}, headers={"Host": host}).status_code == 403


def test_localhost_is_a_name_too(run: Path) -> None:
    response = visitor(run).get(
        "/", params={"token": TOKEN}, headers={"Host": f"localhost:{PORT}"}, follow_redirects=False
    )
    assert response.status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_another_page_cannot_decide(run: Path, headers: dict[str, str]) -> None:
    client = opened(run)
    for path, body in (("/decide", {"row": 0, "decision": "delete"}), ("/undo", {}), ("/apply", {"check": ""})):
        assert client.post(path, json=body, headers=headers).status_code == 403
    assert not (run / "decisions.csv").exists()
    ours = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/decide", json={"row": 0, "decision": "delete"}, headers=ours).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_every_answer_forbids_foreign_scripts_and_guessing_types(run: Path, path: str) -> None:
    for client in (opened(run), visitor(run)):
        headers = client.get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_reading_changes_nothing(run: Path) -> None:
    client = opened(run)
    for path in ("/decide", "/undo", "/apply"):
        assert client.get(path).status_code == 405


# The command


def test_the_command_from_address_to_ctrl_c(run: Path, tmp_path: Path) -> None:
    with cleaning(run) as (address, process):
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{40,})", address)
        assert found
        # an answer that proves who is asked: the page itself is tried in tests/browser
        with socket.create_connection(("127.0.0.1", int(found[1]))) as asking:
            asking.sendall(f"GET /list HTTP/1.1\r\nHost: 127.0.0.1:{found[1]}\r\nConnection: close\r\n\r\n".encode())
            assert asking.recv(100).startswith(b"HTTP/1.1 403")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Nothing was moved" in told


def test_last_words_name_what_waits_and_what_comes_next(run: Path) -> None:
    found = session(run)
    found.decide(0, "delete")
    assert "decisions.csv: 1." in clean.last_words(found)
    found.apply(found.changes()["check"])
    told = clean.last_words(found)
    for words in ("verify", "--undo", "training train", "training compare"):
        assert words in told


def test_it_listens_on_this_machine_alone_and_says_when_it_cannot() -> None:
    with clean.listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        with pytest.raises(TrainingError, match="in use"):
            clean.listen(listening.getsockname()[1])
    with pytest.raises(TrainingError, match="--port"):
        clean.listen(70_000)


def test_photos_that_went_elsewhere_are_asked_for(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    with cleaning(run) as (address, process):
        assert address == ""
        assert process.wait(20) == 2
    with cleaning(run, "--data", str(tmp_path / "moved")) as (address, _):
        assert address.startswith("http://127.0.0.1:")
