from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import Draw
from tests.training.runs import write_run
from training.compare import run
from training.comparison import compare
from training.errors import TrainingError
from training.folders import Row
from training.run_folder import read_run

OLD, NEW = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"


def made_up(count: int) -> list[Row]:
    """Rows of photos that need no files: half are cats, half are dogs."""
    names = [("cat", "dog")[number % 2] for number in range(count)]
    return [Row(f"{name}/{number:03}.jpg", name, "", f"{number:064x}") for number, name in enumerate(names)]


def cats(*numbers: int) -> dict[str, str]:
    """Cats that were taken for dogs: even numbers."""
    return {f"cat/{number:03}.jpg": "dog" for number in numbers}


def words(first: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(Namespace(first=first, second=second)) == 0
    return capsys.readouterr().out


def test_a_few_changes_are_no_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = made_up(100)
    first = write_run(tmp_path / "a", tmp_path, rows=rows, mistakes=cats(0, 2, 4, 6, 8, 20), date=OLD)
    second = write_run(tmp_path / "b", tmp_path, rows=rows, mistakes=cats(10, 12, 14, 20), date=NEW)
    found = compare(read_run(first), read_run(second))
    assert (len(found.better), len(found.worse), len(found.files)) == (5, 3, 100)
    assert found.p == 0.7265625  # what scipy.stats.binomtest(5, 8) and R's binom.test(5, 8) say
    out = words(first, second, capsys)
    assert "No evidence that they differ: 5 photos got better, 3 worse" in out
    assert "p = 0.73" in out
    assert "6 of 100 photos wrong (6.0 %" in out
    assert "4 of 100 photos wrong (4.0 %" in out
    table = [line.split()[-2:] for line in out.splitlines() if line.split() and line.split()[-1].isdigit()]
    assert table == [["91", "3"], ["5", "1"]]


@pytest.mark.parametrize(("swap", "word"), [(False, "better"), (True, "worse")])
def test_many_changes_one_way_are_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], swap: bool, word: str
) -> None:
    rows = made_up(60)
    bad = write_run(tmp_path / "bad", tmp_path, rows=rows, mistakes=cats(*range(0, 24, 2)))
    good = write_run(tmp_path / "good", tmp_path, rows=rows)
    first, second = (good, bad) if swap else (bad, good)
    out = words(first, second, capsys)
    assert f"{second} is {word}: " in out
    assert "p < 0.001" in out


def test_a_run_does_not_differ_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = write_run(tmp_path / "a", tmp_path, rows=made_up(20), mistakes=cats(0))
    assert "No evidence that they differ: 0 photos got better, 0 worse (exact McNemar test, p = 1)" in words(
        made, made, capsys
    )


def test_photos_are_matched_by_content_whatever_they_are_called(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=5, square=5)
    first = write_run(tmp_path / "a", data)
    (data / "disc" / "00.jpg").rename(data / "disc" / "Ünï çödé.jpg")
    second = write_run(tmp_path / "b", data, mistakes={"disc/Ünï çödé.jpg": "square"})
    found = compare(read_run(first), read_run(second))
    assert len(found.files) == 10
    assert found.worse == ["disc/Ünï çödé.jpg"]
    assert found.relabelled == 0


@pytest.mark.parametrize("swap", [False, True])
def test_both_runs_are_held_to_the_newer_runs_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], swap: bool
) -> None:
    rows = made_up(20)
    # the older run thought cat/000 a dog and was counted wrong; by now somebody moved it to the dogs
    older = write_run(tmp_path / "older", tmp_path, rows=rows, mistakes=cats(0), date=OLD)
    moved = [replace(rows[0], file="dog/000.jpg", label="dog"), *rows[1:]]
    newer = write_run(tmp_path / "newer", tmp_path, rows=moved, date=NEW)
    first, second = (newer, older) if swap else (older, newer)
    found = compare(read_run(first), read_run(second))
    assert found.relabelled == 1
    assert not found.first.wrong.any()
    assert not found.second.wrong.any()
    out = words(first, second, capsys)
    assert "1 photo labelled otherwise" in out
    assert f"the newer one, {newer}." in out
    assert f"because {older} had them wrong, that favours it" in out


def test_photos_that_only_one_run_judged_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_run(tmp_path / "a", tmp_path, rows=made_up(20), mistakes=cats(18), date=OLD)
    second = write_run(tmp_path / "b", tmp_path, rows=made_up(17), date=NEW)
    out = words(first, second, capsys)
    assert "17 photos judged by both" in out
    assert f"3 photos judged by {first} alone, left out; it had 1 wrong." in out
    assert "0 of 17 photos wrong" in out
    assert f"because {first} had them wrong, that favours it" in out


def test_more_photos_favour_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a", tmp_path, rows=made_up(17), date=OLD)
    second = write_run(tmp_path / "b", tmp_path, rows=made_up(20), date=NEW)
    out = words(first, second, capsys)
    assert f"3 photos judged by {second} alone" in out
    assert "favours" not in out


def test_equal_photos_count_once(tmp_path: Path) -> None:
    rows = made_up(20)
    made = write_run(tmp_path / "a", tmp_path, rows=[*rows, replace(rows[0], file="cat/copy.jpg")])
    assert len(compare(read_run(made), read_run(made)).files) == 20


def test_a_class_that_a_run_was_not_taught_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = made_up(20)
    first = write_run(tmp_path / "a", tmp_path, rows=rows, date=OLD)
    wolves = [replace(row, label="wolf", file=f"wolf/{row.file[4:]}") if row.label == "dog" else row for row in rows]
    second = write_run(tmp_path / "b", tmp_path, rows=wolves, date=NEW)
    out = words(first, second, capsys)
    assert f"{first} was not taught wolf" in out
    assert "10 of 20 photos wrong" in out


def test_names_that_are_no_utf_8_are_told_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [replace(row, file=row.file.replace("000", "\udcff")) for row in made_up(20)]
    first = write_run(tmp_path / "a", tmp_path, rows=rows, mistakes={"cat/\udcff.jpg": "dog"})
    second = write_run(tmp_path / "b", tmp_path, rows=rows)
    assert "Got better: cat/�.jpg." in words(first, second, capsys)


def test_runs_without_a_common_photo_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", tmp_path, rows=made_up(20))
    others = [replace(row, sha256=row.sha256[:-3] + "abc") for row in made_up(20)]
    second = write_run(tmp_path / "b", tmp_path, rows=others)
    with pytest.raises(TrainingError, match="no photo in common"):
        compare(read_run(first), read_run(second))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    made = write_run(tmp_path / "a", tmp_path, rows=made_up(20))
    with pytest.raises(TrainingError, match="no finished run"):
        run(Namespace(first=made, second=tmp_path / "none"))


def test_a_judged_photo_that_the_split_does_not_name_is_refused(tmp_path: Path) -> None:
    made = write_run(tmp_path / "a", tmp_path, rows=made_up(20))
    split = made / "split.csv"
    split.write_text(split.read_text().replace("cat/000.jpg", "cat/other.jpg"))
    with pytest.raises(TrainingError, match=r"cat/000\.jpg"):
        compare(read_run(made), read_run(made))
