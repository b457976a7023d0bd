from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.training.conftest import Draw
from training.errors import TrainingError
from training.quarantine import (
    JOURNAL,
    Move,
    _write,
    check_work,
    copy_then_remove,
    quarantine,
    read_moves,
    relabel,
    undo,
)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != JOURNAL
    }


def test_quarantine_and_undo_restore_every_byte(draw: Draw) -> None:
    data = draw(disc=2, square=2)
    work = data / "_tellapart"
    name = "disc/ein Bär = 'x', \n\"y\".JPG"
    (data / name).write_bytes(b"not a photo")
    before = tree(data)
    quarantine(data, work, {name: "This, and\nthat.", "square/00.jpg": "Damaged."})
    assert (work / "quarantine" / name).read_bytes() == b"not a photo"
    assert not (data / name).exists() and not (data / "square/00.jpg").exists()
    assert [move.reason for move in read_moves(work)] == ["This, and\nthat.", "Damaged."]
    assert undo(data, work) == ["square/00.jpg", name]
    assert tree(data) == before
    assert read_moves(work) == [] and undo(data, work) == []


def test_a_name_that_is_not_utf8(draw: Draw) -> None:
    data, name = draw(disc=1, square=1), os.fsdecode(b"disc/caf\xe9.jpg")
    (data / name).write_bytes(b"x")
    quarantine(data, data / "_tellapart", {name: "bad"})
    assert not (data / name).exists()
    assert undo(data, data / "_tellapart") == [name]
    assert (data / name).read_bytes() == b"x"


def test_a_work_folder_elsewhere(draw: Draw, tmp_path: Path) -> None:
    data, work = draw(disc=1, square=1), tmp_path / "my work"
    quarantine(data, work, {"disc/00.jpg": "bad"})
    assert (work / "quarantine/disc/00.jpg").is_file() and not (data / "_tellapart").exists()
    assert undo(data, work) == ["disc/00.jpg"]
    assert (data / "disc/00.jpg").is_file()


def test_quarantine_twice_under_one_name_keeps_both(draw: Draw) -> None:
    data = draw(disc=1, square=1)
    work = data / "_tellapart"
    for content in (b"one", b"two", b"two"):
        (data / "disc/00.jpg").write_bytes(content)
        quarantine(data, work, {"disc/00.jpg": "bad"})
    assert [path.name for path in sorted((work / "quarantine/disc").iterdir())] == ["00-2.jpg", "00.jpg"]
    assert undo(data, work) == ["disc/00.jpg"]
    assert (data / "disc/00.jpg").read_bytes() == b"two"
    assert (work / "quarantine/disc/00.jpg").read_bytes() == b"one"  # its place is taken: it stays in the journal
    assert [move.target for move in read_moves(work)] == ["_tellapart/quarantine/disc/00.jpg"]
    assert undo(data, work) == []


def test_relabel_never_merges_even_equal_files(draw: Draw) -> None:
    data = draw(disc=1, square=1)
    work = data / "_tellapart"
    (data / "square/00.jpg").write_bytes((data / "disc/00.jpg").read_bytes())
    before = tree(data)
    relabel(data, work, {"disc/00.jpg": "square"})
    assert sorted(tree(data)) == ["square/00-2.jpg", "square/00.jpg"]
    assert undo(data, work) == ["disc/00.jpg"]
    assert tree(data) == before


def test_relabel_keeps_the_side_and_leaves_right_labels_alone(draw: Draw) -> None:
    draw("data/train", disc=1, square=1)
    draw("data/val", disc=1)
    data = draw("data/val", first=1, disc=1)
    work = data / "_tellapart"
    relabel(data, work, {"val/disc/00.jpg": "square", "train/disc/00.jpg": "disc"})
    assert (data / "val/square/00.jpg").is_file() and (data / "train/disc/00.jpg").is_file()
    assert [move.target for move in read_moves(work)] == ["val/square/00.jpg"]
    undo(data, work)
    assert (data / "val/disc/00.jpg").is_file()


def test_relabelled_then_quarantined_goes_back_both_steps(draw: Draw) -> None:
    data = draw(disc=1, square=1, stripes=1)
    work = data / "_tellapart"
    before = tree(data)
    relabel(data, work, {"disc/00.jpg": "square"})
    quarantine(data, work, {"square/00-2.jpg": "bad"})
    assert undo(data, work) == ["square/00-2.jpg", "disc/00.jpg"]
    assert tree(data) == before


@pytest.mark.parametrize(
    "file", ["../secret", "disc/../../secret", "/etc/hostname", "disc", "loose.jpg", "disc/deep/x.jpg", "disc/no.jpg"]
)
def test_files_outside_the_classes_stay_and_so_do_the_others(draw: Draw, tmp_path: Path, file: str) -> None:
    data = draw(disc=1, square=1)
    (data / "disc/deep").mkdir()
    for path in (tmp_path / "secret", data / "loose.jpg", data / "disc/deep/x.jpg"):
        path.write_text("mine")
    with pytest.raises(TrainingError, match=r"class folder|any more"):
        quarantine(data, data / "_tellapart", {"disc/00.jpg": "bad", file: "bad"})
    with pytest.raises(TrainingError, match=r"class folder|any more"):
        relabel(data, data / "_tellapart", {file: "square"})
    assert (tmp_path / "secret").is_file() and (data / "disc/00.jpg").is_file()
    assert read_moves(data / "_tellapart") == []


def test_a_class_folder_that_is_a_link_out_of_data_is_refused(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=1, square=1)
    draw("elsewhere", stripes=1)
    (data / "stripes").symlink_to(tmp_path / "elsewhere/stripes")
    with pytest.raises(TrainingError, match="class folder"):
        quarantine(data, data / "_tellapart", {"stripes/00.jpg": "bad"})
    assert (tmp_path / "elsewhere/stripes/00.jpg").is_file()


def test_a_link_moves_as_a_link(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=1, square=1)
    (tmp_path / "far.jpg").write_bytes(b"far")
    (data / "disc/link.jpg").symlink_to(tmp_path / "far.jpg")
    quarantine(data, data / "_tellapart", {"disc/link.jpg": "bad"})
    assert (data / "_tellapart/quarantine/disc/link.jpg").readlink() == tmp_path / "far.jpg"
    assert (tmp_path / "far.jpg").read_bytes() == b"far"
    undo(data, data / "_tellapart")
    assert (data / "disc/link.jpg").is_symlink()


@pytest.mark.parametrize("label", ["bear", "..", "", "_tellapart", "disc/x"])
def test_only_classes_of_data_are_labels(draw: Draw, label: str) -> None:
    data = draw(disc=1, square=1)
    with pytest.raises(TrainingError, match="disc, square"):
        relabel(data, data / "_tellapart", {"disc/00.jpg": label})


def test_a_kill_between_journal_and_move(draw: Draw) -> None:
    data = draw(disc=2, square=1)
    work = data / "_tellapart"
    quarantine(data, work, {"disc/00.jpg": "bad"})
    planned = Move("disc/01.jpg", "_tellapart/quarantine/disc/01.jpg", "bad", "2026-01-01T00:00:00+00:00")
    _write(work, [*read_moves(work), planned])
    quarantine(data, work, {"disc/00.jpg": "bad", "disc/01.jpg": "bad"})  # the same again goes on
    assert sorted(path.name for path in (work / "quarantine/disc").iterdir()) == ["00.jpg", "01.jpg"]
    assert undo(data, work) == ["disc/01.jpg", "disc/00.jpg"]
    assert read_moves(work) == []
    _write(work, [planned])
    assert undo(data, work) == [] and read_moves(work) == []
    assert (data / "disc/01.jpg").is_file()


def test_a_kill_between_copy_and_removal_on_another_filesystem(draw: Draw) -> None:
    data = draw(disc=1, square=1)
    work = data / "_tellapart"
    content = (data / "disc/00.jpg").read_bytes()
    quarantine(data, work, {"disc/00.jpg": "bad"})
    (data / "disc/00.jpg").write_bytes(content)
    quarantine(data, work, {"disc/00.jpg": "bad"})
    assert [path.name for path in (work / "quarantine/disc").iterdir()] == ["00.jpg"]
    (data / "disc/00.jpg").write_bytes(content)
    assert undo(data, work) == ["disc/00.jpg"]
    assert (data / "disc/00.jpg").read_bytes() == content
    assert not (work / "quarantine/disc/00.jpg").exists() and read_moves(work) == []


def test_copy_then_remove_keeps_bytes_times_and_links(tmp_path: Path) -> None:
    source, link = tmp_path / "a.jpg", tmp_path / "l.jpg"
    source.write_bytes(b"bytes")
    os.utime(source, (1_000_000_000, 1_000_000_000))
    link.symlink_to("nowhere")
    copy_then_remove(source, tmp_path / "b.jpg")
    copy_then_remove(link, tmp_path / "m.jpg")
    assert (tmp_path / "b.jpg").read_bytes() == b"bytes" and (tmp_path / "b.jpg").stat().st_mtime == 1_000_000_000
    assert (tmp_path / "m.jpg").readlink() == Path("nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.jpg", "m.jpg"]


def test_undo_keeps_a_journal_whose_files_are_gone(draw: Draw) -> None:
    data = draw(disc=2, square=1)
    work = data / "_tellapart"
    quarantine(data, work, {"disc/00.jpg": "bad", "disc/01.jpg": "bad"})
    (work / "quarantine/disc/00.jpg").unlink()
    assert undo(data, work) == ["disc/01.jpg"]
    assert [move.source for move in read_moves(work)] == ["disc/00.jpg"]


def test_undo_makes_a_removed_class_folder_again(draw: Draw) -> None:
    data = draw(disc=1, square=1)
    quarantine(data, data / "_tellapart", {"disc/00.jpg": "bad"})
    (data / "disc").rmdir()
    assert undo(data, data / "_tellapart") == ["disc/00.jpg"]
    assert (data / "disc/00.jpg").is_file()


@pytest.mark.parametrize(
    "source, target", [("../x", "disc/00.jpg"), ("disc/x.jpg", "../secret"), ("disc/x.jpg", "/etc/hostname")]
)
def test_a_journal_that_leads_out_of_data_moves_nothing(draw: Draw, tmp_path: Path, source: str, target: str) -> None:
    data = draw(disc=1, square=1)
    (tmp_path / "secret").write_text("mine")
    _write(data / "_tellapart", [Move(source, target, "", "")])
    with pytest.raises(TrainingError, match="outside"):
        undo(data, data / "_tellapart")
    assert (tmp_path / "secret").is_file() and (data / "disc/00.jpg").is_file()
    assert len(read_moves(data / "_tellapart")) == 1


def test_a_file_that_is_no_journal(draw: Draw) -> None:
    data = draw(disc=1, square=1)
    (data / "_tellapart").mkdir()
    (data / "_tellapart" / JOURNAL).write_text("a,b\n1,2\n")
    with pytest.raises(TrainingError, match="journal"):
        quarantine(data, data / "_tellapart", {"disc/00.jpg": "bad"})
    assert (data / "disc/00.jpg").is_file()


def test_a_move_that_cannot_be_made_is_told_in_a_sentence(draw: Draw) -> None:
    data = draw(disc=2, square=1)
    work = data / "_tellapart"
    work.mkdir()
    (work / "quarantine").write_text("a file in the way")
    with pytest.raises(TrainingError, match="0 of 2 files were moved"):
        quarantine(data, work, {"disc/00.jpg": "bad", "disc/01.jpg": "bad"})
    assert undo(data, work) == [] and len(list((data / "disc").iterdir())) == 2


@pytest.mark.parametrize(
    "work, fine", [("data", False), ("data/work", False), ("data/_w", True), ("data/.w", True), ("w", True)]
)
def test_a_working_folder_is_never_taken_for_a_class(tmp_path: Path, work: str, fine: bool) -> None:
    if fine:
        check_work(tmp_path / "data", tmp_path / work)
    else:
        with pytest.raises(TrainingError, match="--work"):
            check_work(tmp_path / "data", tmp_path / work)
