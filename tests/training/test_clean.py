"""The clean page's lists, decisions and moves, without the web; who may ask for them is in test_clean_server.py."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from app.errors import Refusal
from tests.live import get
from tests.training.conftest import Draw, picture
from tests.training.runs import cleaning, write_features, write_run
from training import clean, quarantine
from training.clean_advice import flags
from training.clean_list import BUTTONS, Neighbours, shown_classes
from training.clean_session import Refused, Session
from training.errors import TrainingError
from training.files import held
from training.folders import Row
from training.history import read_predictions
from training.run_folder import read_run


@pytest.fixture
def run(draw: Draw, tmp_path: Path) -> Path:
    """Ten photos of two classes, each judged out of fold; the first of each class validates."""
    taken = {"disc/03.jpg": "square", "square/00.jpg": "disc"}
    return write_run(tmp_path / "run 1", draw(disc=5, square=5), mistakes=taken, sure={"disc/03.jpg": 0.9}, lane="fast")


def opened(run: Path, work: Path | None = None) -> Session:
    found = read_run(run)
    return clean.open_session(found, work or found.data / "_tellapart")


def files(session: Session, side: str) -> list[str]:
    return [photo["file"] for photo in session.listing()["sides"][side]]


def number(session: Session, file: str) -> int:
    return [row.file for row in session.run.rows].index(file)


def shown(session: Session, file: str) -> dict[str, Any]:
    """What the page is told of a photo."""
    sides: dict[str, list[dict[str, Any]]] = session.listing()["sides"]
    return next(photo for photos in sides.values() for photo in photos if photo["file"] == file)


def decide(session: Session, file: str, decision: str, to: str = "") -> dict[str, Any]:
    return session.decide(number(session, file), decision, to)


def apply(session: Session) -> dict[str, Any]:
    return session.apply(session.changes()["check"])


def saved(run: Path, name: str = "decisions.csv") -> list[list[str]]:
    with (run / name).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [line[:4] for line in csv.reader(file)][1:]


def photos(data: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in data.rglob("*.jpg")}


# What is shown


def test_worst_first_and_the_sides_apart(run: Path) -> None:
    session = opened(run)
    losses = {each.file: each.loss for each in read_predictions(run)}
    assert files(session, "validation") == ["square/00.jpg", "disc/00.jpg"]
    train = sorted(losses.keys() - {"disc/00.jpg", "square/00.jpg"}, key=lambda file: -losses[file])
    assert files(session, "train") == train
    assert train[0] == "disc/03.jpg"
    assert session.listing()["worst"] == "train"
    found = shown(session, "disc/03.jpg")
    assert (found["label"], found["predicted"]) == ("disc", "square")
    assert dict(found["beliefs"]) == pytest.approx({"disc": 0.1, "square": 0.9})


def test_training_photos_of_one_split_by_their_neighbours(draw: Draw, tmp_path: Path) -> None:
    """disc/03 lies among the squares, so some of those have it among their five nearest; no other disc has a square."""
    data = draw(disc=8, square=8)
    run = write_run(tmp_path / "run", data, folds=False, lane="fast")
    names = [f"{label}/0{n}.jpg" for label in ("disc", "square") for n in range(8)]
    features = {name: [float(name.startswith("square")), 1.0, int(name[-5]) / 10] for name in names}
    write_features(run, features | {"disc/03.jpg": [1.0, 1.0, 0.33]})
    session = opened(run)
    assert set(files(session, "validation")) == {"disc/00.jpg", "disc/05.jpg", "square/00.jpg", "square/05.jpg"}
    listed = files(session, "train")
    assert listed[0] == "disc/03.jpg"
    assert "disc/02.jpg" not in listed
    assert shown(session, "disc/03.jpg")["strangers"] == 1.0
    assert shown(session, "square/03.jpg")["strangers"] == 0.2
    assert shown(session, "square/03.jpg")["predicted"] is None
    assert session.listing()["worst"] == "validation"  # a loss weighs more than a neighbour
    near = session.near(number(session, "disc/03.jpg"))
    assert [photo["file"] for photo in near[:2]] == ["square/03.jpg", "square/04.jpg"]
    assert {photo["label"] for photo in near} == {"square"}
    assert len(near) == 6


def test_neighbours_are_those_that_comparing_each_pair_finds() -> None:
    features = np.random.default_rng(7).normal(size=(600, 16)).astype(np.float32)  # more than one block of rows
    features[400] = features[3] * 2  # as alike as can be
    labels = [str(number % 3) for number in range(600)]
    found = Neighbours(features, labels)

    def cosine(one: int, other: int) -> float:
        a, b = features[one].astype(float), features[other].astype(float)
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    def nearest(row: int) -> list[int]:
        return sorted((other for other in range(600) if other != row), key=lambda other: -cosine(row, other))

    some = (0, 3, 400, 511, 512, 599)
    for row in some:
        assert found.nearest(row, 6) == nearest(row)[:6]
    assert found.nearest(3)[0] == 400
    blocks: list[None] = []
    shares = found.strangers(range(600), lambda: blocks.append(None))
    for row in some:
        assert shares[row] == np.mean([labels[other] != labels[row] for other in nearest(row)[:5]])
    assert (len(shares), len(blocks)) == (600, 2)


def test_all_classes_have_a_button_or_the_most_probable_of_many() -> None:
    few, many = [*"abcdefghi"], [*"abcdefghij"]
    assert len(few) == BUTTONS
    assert shown_classes(few, "c", {"i": 0.9}) == few
    assert shown_classes(many, "c", {"i": 0.6, "a": 0.1, "j": 0.3}) == ["c", "i", "j", "a", "b", "d"]


def test_a_run_without_features_has_no_neighbours(run: Path) -> None:
    (run / "features.safetensors").unlink()
    assert opened(run).near(0) == []


def test_features_of_other_photos_are_refused(run: Path) -> None:
    write_features(run, {"disc/00.jpg": [1.0]})
    with pytest.raises(TrainingError, match="not about the photos"):
        opened(run)
    (run / "features.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(TrainingError, match="cannot be read"):
        opened(run)


def test_photos_are_shown_upright_small_and_without_metadata(run: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    picture("disc", 9, (1600, 800)).save(tmp_path / "data/disc/00.jpg", exif=exif)
    session = opened(write_run(tmp_path / "run", tmp_path / "data", lane="fast"))
    for row, longest, size in ((0, 1200, (600, 1200)), (0, 240, (120, 240)), (1, 1200, (120, 90))):
        content = session.picture(row, longest)
        with Image.open(io.BytesIO(content)) as photo:
            assert (photo.format, photo.size, dict(photo.getexif())) == ("JPEG", size, {})
        assert b"where I live" not in content


def test_a_missing_or_changed_photo_is_told_of_and_not_moved(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data/disc/00.jpg").unlink()
    picture("square", 77).save(tmp_path / "data/disc/01.jpg")
    (tmp_path / "data/disc/02.jpg").write_bytes(b"")
    session = opened(run)
    assert [shown(session, f"disc/0{n}.jpg")["there"] for n in range(3)] == [False, True, True]
    for n, words in enumerate(["no longer", "changed", "changed"]):
        with pytest.raises(Refused, match=words):
            session.picture(n, 240)
        with pytest.raises(Refused, match=words):
            decide(session, f"disc/0{n}.jpg", "delete")
        decide(session, f"disc/0{n}.jpg", "keep")


def test_a_photo_that_cannot_be_decoded_says_why(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=5, square=5)
    (data / "disc/03.jpg").write_bytes(b"\xff\xd8\xff broken")
    session = opened(write_run(tmp_path / "run", data, lane="fast"))
    with pytest.raises(Refusal, match="damaged"):
        session.picture(number(session, "disc/03.jpg"), 240)
    assert decide(session, "disc/03.jpg", "delete")["decision"] == "delete"


# What is decided


def test_each_decision_is_saved_and_taken_up_again(run: Path) -> None:
    session = opened(run)
    assert decide(session, "disc/00.jpg", "delete")["decision"] == "delete"
    assert saved(run) == [["disc/00.jpg", "disc", "delete", ""]]
    decide(session, "square/01.jpg", "relabel", "disc")
    decide(session, "disc/00.jpg", "keep")
    again = opened(run)
    assert shown(again, "disc/00.jpg")["decision"] == "keep"
    assert (shown(again, "square/01.jpg")["decision"], shown(again, "square/01.jpg")["to"]) == ("relabel", "disc")
    assert shown(again, "disc/02.jpg")["decision"] is None


def test_undo_steps_back_to_what_was_decided_before(run: Path) -> None:
    session = opened(run)
    decide(session, "disc/00.jpg", "keep")
    decide(session, "disc/00.jpg", "delete")
    session = opened(run)  # also after a restart
    undone = session.undo()
    assert (undone["file"], undone["decision"]) == ("disc/00.jpg", "keep")
    assert session.undo()["decision"] is None
    with pytest.raises(Refused, match="nothing left"):
        session.undo()
    assert saved(run) == []


@pytest.mark.parametrize(
    ("row", "decision", "to"),
    [(0, "burn", ""), (0, "relabel", "disc"), (0, "relabel", "../x"), (0, "relabel", ""), (0, "delete", "square"),
     (10, "keep", ""), (-1, "keep", "")],
)  # fmt: skip
def test_a_decision_that_makes_no_sense_is_refused(run: Path, row: int, decision: str, to: str) -> None:
    with pytest.raises(Refused):
        opened(run).decide(row, decision, to)
    assert not (run / "decisions.csv").exists()


def test_any_name_survives(tmp_path: Path) -> None:
    classes = ["<img src=x onerror=alert(1)>", "دب", "🐻" * 60]
    names = ['=1+1, "ä" B.jpg', "@sum\n.JPG", os.fsdecode(b"\xff\xfe.jpg"), "\u202egpj.exe", "x" * 249 + ".jpg"]
    for label in classes:
        (tmp_path / "data" / label).mkdir(parents=True)
        for seed, name in enumerate(names):
            with (tmp_path / "data" / label / name).open("wb") as file:
                picture("disc", seed).save(file, "JPEG")
    run = write_run(tmp_path / "run", tmp_path / "data", lane="fast")
    session = opened(run)
    assert session.listing()["classes"] == sorted(classes)
    for row, photo in enumerate(session.run.rows):
        assert session.picture(row, 240)
        to = next(name for name in classes if name != photo.label)
        session.decide(row, *(("relabel", to) if photo.label == classes[0] else ("delete", "")))
    assert [line[0] for line in saved(run)] == [photo.file for photo in session.run.rows]
    told = apply(opened(run))
    assert (told["quarantined"], told["relabelled"], told["left"]) == (10, 5, [])
    assert len(quarantine.undo(tmp_path / "data", tmp_path / "data/_tellapart")) == 15


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
        opened(run)


# What is moved


def test_apply_moves_what_was_confirmed_and_one_command_undoes_it(run: Path, tmp_path: Path) -> None:
    session, data = opened(run), tmp_path / "data"
    before = photos(data)
    decide(session, "disc/00.jpg", "delete")
    decide(session, "square/01.jpg", "relabel", "disc")  # where another 01.jpg lies
    decide(session, "disc/02.jpg", "keep")
    assert photos(data) == before
    told = apply(session)
    assert (told["quarantined"], told["relabelled"], told["left"]) == (1, 1, [])
    assert told["undo"] == f"python -m training verify {data} --undo"
    assert [line.split()[3] for line in told["next"]] == ["split", "train", "compare"]
    assert told["next"][1].endswith(f"--out '{run}-cleaned' --lane fast")
    assert told["next"][2].endswith(f"compare '{run}' '{run}-cleaned'")
    assert sorted(photos(data).values()) == sorted(before.values())
    assert (data / "_tellapart/quarantine/disc/00.jpg").is_file()
    assert len(list((data / "disc").iterdir())) == 5
    assert not shown(session, "disc/00.jpg")["there"]
    assert [line[0] for line in saved(run)] == ["disc/02.jpg"]
    assert [line[0] for line in saved(run, "decisions-applied-1.csv")] == ["disc/00.jpg", "square/01.jpg"]
    quarantine.undo(data, data / "_tellapart")
    assert photos(data) == before


def test_a_relabelled_photo_does_not_take_the_place_of_a_deleted_one(run: Path, tmp_path: Path) -> None:
    session = opened(run)
    decide(session, "disc/01.jpg", "delete")
    decide(session, "square/01.jpg", "relabel", "disc")
    told = apply(session)
    assert (told["quarantined"], told["relabelled"], told["left"]) == (1, 1, [])
    assert opened(run).changes()["changes"] == []
    assert (tmp_path / "data/disc/01-2.jpg").is_file()


def test_a_second_apply_is_harmless(run: Path) -> None:
    session = opened(run)
    decide(session, "disc/00.jpg", "delete")
    check = session.changes()["check"]
    session.apply(check)
    for again in (session, opened(run)):
        assert again.changes()["changes"] == []
        for known in (check, again.changes()["check"]):
            with pytest.raises(Refused, match="changed since"):
                again.apply(known)


def test_only_what_was_listed_is_moved(run: Path, tmp_path: Path) -> None:
    session = opened(run)
    decide(session, "disc/00.jpg", "delete")
    check = session.changes()["check"]
    decide(session, "disc/01.jpg", "delete")  # in another window, say
    for stale in (check, "None", ""):
        with pytest.raises(Refused, match="changed since"):
            session.apply(stale)
    assert (tmp_path / "data/disc/00.jpg").is_file()


def test_an_apply_that_was_killed_goes_on(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = photos(data)
    session = opened(run)
    decide(session, "disc/00.jpg", "delete")
    decide(session, "disc/01.jpg", "delete")
    # what stands after kill -9 between the two moves: the first is made, and decisions.csv still names both
    quarantine.quarantine(data, data / "_tellapart", {"disc/00.jpg": "deleted on the clean page"})
    session = opened(run)
    assert [change["file"] for change in session.changes()["changes"]] == ["disc/01.jpg"]
    assert apply(session)["quarantined"] == 1
    quarantine.undo(data, data / "_tellapart")
    assert photos(data) == before


def test_a_photo_that_changed_after_the_decision_is_left_alone(run: Path, tmp_path: Path) -> None:
    session = opened(run)
    decide(session, "disc/00.jpg", "delete")
    decide(session, "disc/01.jpg", "delete")
    picture("square", 77).save(tmp_path / "data/disc/00.jpg")
    told = apply(session)
    assert (told["quarantined"], told["left"]) == (1, ["disc/00.jpg"])
    assert (tmp_path / "data/disc/00.jpg").is_file()


def test_a_move_that_fails_is_told_and_nothing_is_lost(run: Path, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file where a folder should be")
    session = opened(run, tmp_path / "work")
    decide(session, "disc/00.jpg", "delete")
    with pytest.raises(OSError, match="work"):
        apply(session)
    assert (tmp_path / "data/disc/00.jpg").is_file()
    assert len(session.changes()["changes"]) == 1


def test_nothing_outside_of_data_is_moved(draw: Draw, tmp_path: Path) -> None:
    """Neither through a folder that is a link, nor by a path that climbs out in a split.csv from a stranger."""
    data = draw(disc=5, square=5)
    draw(into="elsewhere", disc=1)
    (data / "linked").symlink_to(tmp_path / "elsewhere/disc")
    content = read_run(write_run(tmp_path / "run", data, lane="fast")).rows[0].sha256
    for file in ("linked/00.jpg", "../elsewhere/disc/00.jpg", str(tmp_path / "elsewhere/disc/00.jpg")):
        rows = [Row(file, "disc", "", content), Row("square/00.jpg", "square", "", content)]
        session = opened(write_run(tmp_path / "run", data, rows=rows, lane="fast"))
        decide(session, file, "delete")
        with pytest.raises(TrainingError, match="not in a class folder"):
            apply(session)
        assert (tmp_path / "elsewhere/disc/00.jpg").is_file()
        (tmp_path / "run/decisions.csv").unlink()


def test_of_a_photo_that_is_a_link_the_link_is_moved(run: Path, tmp_path: Path) -> None:
    photo = tmp_path / "data/disc/00.jpg"
    photo.rename(tmp_path / "original.jpg")
    photo.symlink_to(tmp_path / "original.jpg")
    session = opened(run)
    decide(session, "disc/00.jpg", "delete")
    assert apply(session)["quarantined"] == 1
    assert (tmp_path / "original.jpg").is_file()
    assert (tmp_path / "data/_tellapart/quarantine/disc/00.jpg").is_symlink()


def test_photos_go_where_work_says_and_the_commands_name_it(run: Path, tmp_path: Path) -> None:
    session = opened(run, tmp_path / "work here")
    decide(session, "disc/00.jpg", "delete")
    assert f"--work '{tmp_path}/work here'" in apply(session)["undo"]
    assert (tmp_path / "work here/quarantine/disc/00.jpg").is_file()


@pytest.mark.parametrize(
    ("lane", "name", "source", "expected"),
    [
        ("full", "resnet34-imagenet1k", "https://example.org/", []),
        ("full", "none", "random weights", ["--weights", "none"]),
        ("full", "my.safetensors", "file my.safetensors: mine", ["--weights", "FOLDER/my.safetensors"]),
        ("fast", "none", "random weights", ["--lane", "fast", "--weights", "none"]),
        ("imported", "my.pth", "file my.pth, trained elsewhere", []),
    ],
)
def test_the_next_run_is_to_be_trained_as_this_one(lane: str, name: str, source: str, expected: list[str]) -> None:
    assert flags({"lane": lane, "weights": {"name": name, "source": source}}) == expected


# The command


def test_the_command_from_address_to_ctrl_c(run: Path) -> None:
    with cleaning(run) as (address, process):
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#[\w-]{40,}", address)
        assert found
        assert get(int(found[1]), "/list")[0] == 403
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Nothing was moved" in told


def test_ctrl_c_in_the_middle_of_the_moves_waits_for_them(run: Path) -> None:
    session = opened(run)
    session.decide(0, "delete")
    check = session.changes()["check"]
    with clean.listen(0) as listening, ThreadPoolExecutor() as pool:
        port = listening.getsockname()[1]
        server = clean.server(session, "token", port)
        with session._lock:  # so that the moves take until this block ends
            serving = pool.submit(server.run, [listening])
            client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer token"})
            applying = pool.submit(client.post, "/apply", json={"check": check})
            while not server.server_state.tasks:
                time.sleep(0.01)
            for _ in range(2):
                server.handle_exit(signal.SIGINT, None)
            time.sleep(0.3)  # it looks every 0.1 s
            assert not serving.done()
        assert applying.result().json()["quarantined"] == 1
        serving.result(10)


def test_last_words_name_what_waits_and_what_comes_next(run: Path) -> None:
    session = opened(run)
    session.decide(0, "delete")
    assert "decisions.csv: 1." in clean.last_words(session)
    apply(session)
    told = clean.last_words(session)
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
    with pytest.raises(TrainingError, match="--data"):
        clean.run(Namespace(run_folder=run, data=None, work=None, port=0))


def test_two_at_once_would_lose_decisions(run: Path) -> None:
    with held(run, ""), pytest.raises(TrainingError, match="Another clean"):
        clean.run(Namespace(run_folder=run, data=None, work=None, port=0))
