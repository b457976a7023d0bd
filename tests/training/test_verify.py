from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from app.image import read_photo
from tests.live import ROOT
from tests.training.conftest import Draw, picture
from training import findings, verify
from training.errors import TrainingError
from training.files import working_in
from training.folders import files_of


def run(*arguments: object) -> int:
    parser = ArgumentParser()
    verify.add_arguments(parser)
    return verify.run(parser.parse_args([str(argument) for argument in arguments]))


def found(work: Path) -> list[tuple[str, str, str]]:
    """(file, finding, other) of each row."""
    with (work / "verify.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [(row["file"], row["finding"], row["other"]) for row in csv.DictReader(file)]


def kinds(image: Image.Image) -> list[str]:
    out = io.BytesIO()
    image.save(out, "PNG")
    return [kind for kind, _ in findings.doubts(read_photo(out.getvalue(), enough=findings.SHORT))]


def clean(shape: str, seed: int) -> Image.Image:
    return picture(shape, seed, (160, 130))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve good photos in two classes."""
    for shape in ("disc", "square"):
        (tmp_path / "my data" / shape).mkdir(parents=True)
        for seed in range(6):
            clean(shape, seed).save(tmp_path / "my data" / shape / f"{seed}.jpg", quality=95)
    return tmp_path / "my data"


def test_good_photos_have_no_findings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data) == 0
    assert found(data / "_tellapart") == []
    out = capsys.readouterr().out
    assert "disc 6, square 6" in out and f"split '{data}'" in out
    assert len(list(data.glob("*/*.jpg"))) == 12


def test_bad_files_go_to_quarantine_and_come_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (data / "disc/0.jpg").read_bytes()
    bad = {"disc/page.php": b"<html>", "disc/empty.jpg": b"", "square/Bär half.JPG": whole[: len(whole) // 2]}
    for file, content in bad.items():
        (data / file).write_bytes(content)
    (data / "disc/.hidden").write_text("left alone")
    assert run(data) == 0
    assert {file for file, kind, _ in found(data / "_tellapart") if kind == "bad"} == set(bad)
    for file, content in bad.items():
        assert (data / "_tellapart/quarantine" / file).read_bytes() == content
        assert not (data / file).exists()
    out = capsys.readouterr().out
    assert "This file is empty." in out
    assert f"3 files, those under Bad, moved to {data}/_tellapart/quarantine; nothing is deleted or changed." in out
    assert f"To move everything back: python -m training verify '{data}' --undo" in out
    assert run(data) == 0
    out = capsys.readouterr().out
    assert f"3 files moved earlier, by verify or clean: see {data}/_tellapart/moves.csv" in out
    assert f"To move everything back: python -m training verify '{data}' --undo" in out
    assert run(data, "--undo") == run(data, "--undo") == 0
    assert capsys.readouterr().out == f"3 files moved back to the old place in {data}.\nNothing to move back.\n"
    assert {file: (data / file).read_bytes() for file in bad} == bad
    assert (data / "disc/.hidden").is_file()


def test_dry_run_moves_nothing(data: Path) -> None:
    (data / "disc/page.php").write_text("<html>")
    assert run(data, "--dry-run") == 0
    assert (data / "disc/page.php").is_file()
    assert [row[:2] for row in found(data / "_tellapart")] == [("disc/page.php", "bad")]


@pytest.mark.parametrize("bad, refused", [(12, False), (13, True)])
def test_over_half_is_refused_and_half_is_not(data: Path, bad: int, refused: bool) -> None:
    for number in range(bad):
        (data / "disc" / f"{number}.txt").write_text(str(number))
    if refused:
        with pytest.raises(TrainingError, match="13 of 25 files"):
            run(data)
    else:
        assert run(data) == 0
    assert len(list((data / "disc").glob("*.txt"))) == (bad if refused else 0)


def test_a_folder_without_a_photo_is_no_class_and_stays(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "notes").mkdir()
    (data / "notes/plan.txt").write_text("not a photo")
    (data / "disc/page.php").write_text("<html>")
    assert run(data) == 0
    assert found(data / "_tellapart") == [("disc/page.php", "bad", ""), ("notes/plan.txt", "no class", "")]
    assert (data / "notes/plan.txt").is_file() and not (data / "disc/page.php").exists()
    assert "No class (1)" in capsys.readouterr().out


def test_nothing_but_files_that_are_no_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/plan.txt").write_text("not a photo")
    with pytest.raises(TrainingError, match="1 of 1 files"):
        run(tmp_path)
    assert (tmp_path / "notes/plan.txt").is_file()


def test_photos_in_no_class_folder_are_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "disc/deep").mkdir()
    clean("disc", 9).save(data / "disc/deep/9.jpg")
    clean("disc", 8).save(data / "loose.jpg")
    (data / "README").write_text("no photo, no word about it")
    assert run(data) == 0
    assert "2 photos (disc/deep/9.jpg, loose.jpg) left out" in capsys.readouterr().out


def test_of_many_classes_two_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}").mkdir()
        clean("disc", number).save(tmp_path / f"{number:02}" / "a.jpg")
    clean("square", 3).save(tmp_path / "07" / "b.jpg")
    run(tmp_path)
    assert "Looked at 21 files in 20 classes: from 1 in 19 to 2 in 07." in capsys.readouterr().out


def test_while_another_command_is_at_work_nothing_is_moved(data: Path) -> None:
    (data / "disc/page.php").write_text("<html>")
    with working_in(data / "_tellapart"), pytest.raises(TrainingError, match="Another command is at work"):
        run(data)
    assert (data / "disc/page.php").is_file()
    assert run(data) == 0


def test_duplicates_near_and_exact_and_in_two_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "disc/0 page.php").write_text("<html>")
    (data / "disc/copy.jpg").write_bytes((data / "disc/1.jpg").read_bytes())
    clean("disc", 2).save(data / "disc/smaller.png")
    (data / "square/wrong.jpg").write_bytes((data / "disc/3.jpg").read_bytes())
    clean("square", 4).save(data / "disc/wrong too.webp", quality=60)
    assert run(data) == 0
    assert found(data / "_tellapart") == [
        ("disc/0 page.php", "bad", ""),
        ("square/4.jpg", "label conflict", "disc/wrong too.webp"),
        ("square/wrong.jpg", "label conflict", "disc/3.jpg"),
        ("disc/copy.jpg", "exact duplicate", "disc/1.jpg"),
        ("disc/smaller.png", "near duplicate", "disc/2.jpg"),
    ]
    out = capsys.readouterr().out
    assert "square/wrong.jpg and disc/3.jpg: the same file, as square and as disc" in out
    assert len(files_of(data)) == 16


def test_of_three_alike_the_one_in_the_other_class_is_the_conflict(data: Path) -> None:
    for name in ("disc/again.jpg", "square/x.jpg", "square/y.jpg"):
        (data / name).write_bytes((data / "disc/5.jpg").read_bytes())
    run(data)
    assert found(data / "_tellapart") == [
        ("square/x.jpg", "label conflict", "disc/5.jpg"),
        ("disc/again.jpg", "exact duplicate", "disc/5.jpg"),
        ("square/y.jpg", "exact duplicate", "square/x.jpg"),
    ]


def test_what_is_doubtful_about_a_photo_both_edges() -> None:
    photo = picture("disc", 1, (520, 400))
    assert kinds(photo) == []
    assert kinds(photo.resize((200, 112))) == [] and kinds(photo.resize((200, 111))) == ["tiny"]
    assert kinds(photo.resize((500, 200))) == [] and kinds(photo.resize((501, 200))) == ["odd shape"]
    assert kinds(photo.resize((200, 501))) == ["odd shape"]
    assert kinds(photo.filter(ImageFilter.GaussianBlur(6))) == ["blurry"]
    assert kinds(photo.point(lambda value: value // 8)) == ["dark", "plain"]
    assert kinds(Image.new("RGB", (300, 300), "white")) == ["plain"]
    assert kinds(Image.fromarray(np.array([[0, 255]], np.uint8))) == ["tiny"]


def test_the_manual_has_every_finding() -> None:
    text = (ROOT / "docs" / "train.md").read_text()
    assert re.findall(r"^\| ([a-z ]+) \| ", text[text.index("## 3.") : text.index("## 4.")], re.MULTILINE) == [
        "finding", *findings.MEANINGS,
    ]  # fmt: skip


def test_tiny_files_of_one_pixel_are_read(data: Path) -> None:
    Image.new("RGB", (1, 1)).save(data / "disc/dot.png")
    assert run(data) == 0
    assert {row[1] for row in found(data / "_tellapart")} == {"plain", "dark", "tiny"}


def test_given_sides_are_looked_at(draw: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    draw("data/train", disc=2, square=2)
    data = draw("data/val", disc=1, square=1)
    run(data)
    assert "Looked at 6 files in 2 classes" in capsys.readouterr().out
    assert [row for row in found(data / "_tellapart") if row[2]] == [
        ("val/disc/00.jpg", "both sides", "train/disc/00.jpg"),
        ("val/square/00.jpg", "both sides", "train/square/00.jpg"),
    ]


def test_a_file_that_cannot_be_opened_stays_and_the_exit_code_says_so(data: Path) -> None:
    (data / "disc/link.jpg").symlink_to("nowhere")
    os.mkfifo(data / "disc/pipe.jpg")  # no file: would block whoever reads it
    assert run(data) == 1
    assert found(data / "_tellapart") == [("disc/link.jpg", "closed", "")]
    assert (data / "disc/link.jpg").is_symlink()


def test_names_that_cannot_be_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [os.fsdecode(b"disc/caf\xe9.jpg"), "disc/two\nlines\x1b[31m.jpg"]
    for name in names:
        (data / name).write_text("x")
    assert run(data) == 0
    assert [row[0] for row in found(data / "_tellapart")] == sorted(names)
    out = capsys.readouterr().out
    assert "caf�.jpg" in out and "two�lines�[31m.jpg" in out


def test_work_elsewhere_is_named_in_the_next_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "disc/empty.jpg").touch()
    assert run(data, "--work", tmp_path / "work") == 0
    assert f"--work {tmp_path / 'work'}" in capsys.readouterr().out
    assert (tmp_path / "work/quarantine/disc/empty.jpg").is_file() and not (data / "_tellapart").exists()
    assert run(data, "--work", tmp_path / "work", "--undo") == 0
    assert (data / "disc/empty.jpg").is_file()


def test_undo_says_what_could_not_come_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "disc/empty.jpg").touch()
    run(data)
    (data / "disc/empty.jpg").write_text("a new one")
    assert run(data, "--undo") == 1
    assert "another file stands in its old place" in capsys.readouterr().out
    assert (data / "disc/empty.jpg").read_text() == "a new one"


def test_wrong_use_is_told(tmp_path: Path, data: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="no folder"):
        run(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="holds no photos"):
        run(tmp_path / "empty")
    with pytest.raises(TrainingError, match="--work"):
        run(data, "--work", data / "notes")
    with pytest.raises(TrainingError, match="cannot be written to"):
        run(data, "--work", tmp_path / "file")


def test_ctrl_c_stops_at_once_and_moves_nothing(data: Path) -> None:
    Image.effect_noise((1500, 1500), 90).save(data / "disc/large.png", compress_level=0)
    (data / "disc/a.txt").write_text("bad")
    for number in range(999):  # ten seconds of work and more
        os.link(data / "disc/large.png", data / "square" / f"large {number}.png")
    code = "import sys; from training import verify; print('ready', flush=True); from training.__main__ import main;"
    command = [sys.executable, "-c", f"{code} sys.exit(main(['verify', {str(data)!r}]))"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=5) == ("", "Stopped.\n")
    assert child.returncode == 130
    assert (data / "disc/a.txt").is_file()
