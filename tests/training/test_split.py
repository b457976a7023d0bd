import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from training.__main__ import main
from training.errors import TrainingError
from training.folders import Row
from training.folds import choose
from training.progress import bars
from training.split import COLUMNS, Split, prepare, read


def split(data: Path, seed: int = 42, *, again: bool = False) -> Split:
    return prepare(data, data / "_tellapart", seed, bars(show=False), again=again)


def sides(data: Path) -> dict[str, str]:
    return {row.file: row.split for row in split(data).rows}


def rows(count: int, label: str = "a") -> list[Row]:
    return [Row(f"{label}/{number}.jpg", label, "", f"{label}{number:063}") for number in range(count)]


def test_a_fifth_of_each_class_validates(draw) -> None:
    made = split(draw(disc=10, square=15))
    assert made.classes == ("disc", "square")
    assert Counter((row.label, row.split) for row in made.rows) == {
        ("disc", "train"): 8,
        ("disc", "validation"): 2,
        ("square", "train"): 12,
        ("square", "validation"): 3,
    }


def test_the_file_holds_what_was_decided_and_is_honoured(draw) -> None:
    data = draw(disc=10, square=10)
    first = split(data)
    text = first.path.read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert first.path == data / "_tellapart" / "split.csv"
    first.path.write_text(text.replace("disc/00.jpg,disc,train", "disc/00.jpg,disc,validation"))
    assert sides(data)["disc/00.jpg"] == "validation"
    assert split(data, seed=7).rows == split(data).rows


def test_the_split_depends_on_content_and_seed_alone(draw, tmp_path: Path) -> None:
    data = draw(disc=20, square=20)
    copy = tmp_path / "elsewhere"
    shutil.copytree(data, copy)
    for number in range(20):
        (copy / "disc" / f"{number:02}.jpg").rename(copy / "disc" / f"x{99 - number}.jpg")
    chosen = {row.sha256: row.split for row in split(data).rows}
    assert {row.sha256: row.split for row in split(copy).rows} == chosen
    assert choose(rows(50), [], 1, []) != choose(rows(50), [], 2, [])


def test_known_split_never_changes() -> None:
    chosen = choose(rows(20), [], 42, [])
    assert [row.file for row in chosen if row.split == "validation"] == ["a/4.jpg", "a/7.jpg", "a/9.jpg", "a/17.jpg"]


def test_photos_that_stay_keep_their_fold_when_others_come_and_go(draw) -> None:
    data = draw(disc=12, square=12)
    before = {row.sha256: row.fold for row in split(data).rows}
    (data / "disc" / "03.jpg").unlink()
    draw(first=40, square=6)
    after = split(data, again=True).rows
    assert all(before.get(row.sha256, row.fold) == row.fold for row in after)
    assert len(after) == 12 - 1 + 18
    assert set(Counter((row.label, row.fold) for row in after).values()) <= {2, 3, 4}
    assert split(data).rows == after


def test_the_odd_photos_of_many_small_classes_are_spread_over_the_folds() -> None:
    many = [row for number in range(100) for row in rows(6, f"{number:02}")]
    chosen = choose(many, [], 42, [])
    assert Counter(row.split for row in chosen) == {"train": 480, "validation": 120}
    few = [row for number in range(10) for row in rows(6, f"{number:02}")]
    assert set(Counter(row.fold for row in choose(few, [], 42, [])).values()) == {12}


def test_under_500_photos_each_validates_once_and_from_500_on_none_has_a_fold() -> None:
    few = choose(rows(499), [], 42, [])
    assert Counter(row.fold for row in few) == {"0": 100, "1": 100, "2": 100, "3": 100, "4": 99}
    assert {row.split for row in few if row.fold == "0"} == {"validation"}
    many = choose(rows(500), [], 42, [])
    assert {row.fold for row in many} == {""}
    assert Counter(row.split for row in many) == {"train": 400, "validation": 100}


def test_look_alikes_stand_in_one_fold(draw) -> None:
    data = draw(disc=8, square=8)
    for number in range(8):
        with Image.open(data / "disc" / f"{number:02}.jpg") as photo:
            photo.resize((240, 180)).save(data / "square" / f"larger-{number}.jpg", quality=60)
    folds = {row.file: row.fold for row in split(data).rows}
    for number in range(8):
        assert folds[f"disc/{number:02}.jpg"] == folds[f"square/larger-{number}.jpg"]
    assert len(set(folds.values())) == 5


def test_the_command_says_what_came_of_it(draw, capsys) -> None:
    data = draw(disc=10, square=10)
    assert main(["split", str(data)]) == 0
    said = capsys.readouterr().out
    assert "16 photos train, 4 validate" in said
    assert "5 folds" in said


def test_equal_photos_stand_on_one_side(draw) -> None:
    data = draw(disc=10, square=10)
    for number in range(5):
        for copy in range(3):
            shutil.copy(data / "disc" / f"{number:02}.jpg", data / "disc" / f"copy{copy}-{number:02}.jpg")
    shutil.copy(data / "disc" / "00.jpg", data / "square" / "also-00.jpg")
    made = split(data)
    by_content: dict[str, set[str]] = {}
    for row in made.rows:
        by_content.setdefault(row.sha256, set()).add(row.split)
    assert all(len(found) == 1 for found in by_content.values())
    assert any("more than one class" in note for note in made.notes)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_given_folders_are_honoured(draw, name: str) -> None:
    draw("data/train", disc=6, square=6)
    data = draw(f"data/{name}", first=50, disc=2, square=1)
    found = sides(data)
    assert {file for file, side in found.items() if side == "validation"} == {
        f"{name}/disc/50.jpg",
        f"{name}/disc/51.jpg",
        f"{name}/square/50.jpg",
    }


def test_of_val_and_test_one_validates_and_the_other_is_told(draw) -> None:
    draw("data/train", disc=6, square=6)
    draw("data/test", first=60, disc=2)
    made = split(draw("data/val", first=50, disc=2, square=1))
    assert {row.file.split("/")[0] for row in made.rows} == {"train", "val"}
    assert made.notes == (
        "2 photos (test/disc/60.jpg, test/disc/61.jpg) left out: "
        "classes are the folders in train/ and val/, photos directly in them.",
    )


def test_a_class_that_nothing_validates_is_told(draw) -> None:
    draw("data/train", disc=6, square=6)
    made = split(draw("data/val", first=50, disc=2))
    assert made.notes == ("No photo validates 1 class (square): mistakes there will not be seen.",)


def test_classes_that_differ_in_case_alone_are_told(draw) -> None:
    made = split(draw(Disc=5, disc=5))
    assert made.classes == ("Disc", "disc")
    assert made.notes == ("The classes Disc and disc differ only in case: are they one?",)


def test_train_folder_alone_is_split_and_a_class_may_be_called_train(draw) -> None:
    draw("data/train", disc=10, square=10)
    assert Counter(sides(draw("data/train", disc=1)).values()) == {"train": 16, "validation": 4}
    assert split(draw("vehicles", train=5, bus=5)).classes == ("bus", "train")


def test_equal_photos_in_given_folders_are_told(draw) -> None:
    draw("data/train", disc=6, square=6)
    made = split(draw("data/val", disc=1, square=1))
    assert any("both sides" in note for note in made.notes)


def test_what_is_no_class_and_no_photo_is_left_out(draw) -> None:
    data = draw(disc=5, square=5, _private=5)
    (data / ".hidden").mkdir()
    (data / "empty").mkdir()
    (data / "disc" / "notes.txt").write_text("none")
    (data / "disc" / ".DS_Store").write_text("none")
    made = split(data)
    assert made.classes == ("disc", "square")
    assert made.notes == ("1 file (disc/notes.txt) left out: not an image in a format that tellapart reads.",)


def test_classes_are_in_str_order_and_may_have_any_name(draw) -> None:
    data = draw(**{"ähre": 5, "b c": 5, "Zebra": 5, "ants": 5})
    assert split(data).classes == ("Zebra", "ants", "b c", "ähre")
    assert split(data).classes == ("Zebra", "ants", "b c", "ähre")  # and so read back


def test_file_names_that_are_not_utf8_are_kept(draw) -> None:
    data = draw(disc=5, square=5)
    (data / "disc" / "00.jpg").rename(os.fsdecode(os.fsencode(data / "disc") + b"/caf\xe9.jpg"))
    assert split(data).rows == split(data).rows


def change(data: Path, what: str) -> None:
    photo = data / "disc" / "00.jpg"
    if what == "missing":
        photo.unlink()
    elif what == "new":
        shutil.copy(photo, data / "disc" / "new.jpg")
    else:
        photo.write_bytes(photo.read_bytes() + b"\0")


@pytest.mark.parametrize("what", ["missing", "new", "changed"])
def test_photos_that_no_longer_fit_the_file_are_named(draw, what: str) -> None:
    data = draw(disc=5, square=5)
    split(data)
    change(data, what)
    with pytest.raises(TrainingError, match=rf"1 file \(disc/(00|new)\.jpg\) {what}.*split anew with --again"):
        split(data)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "There is no folder"),
        ({"disc": 9}, "only one class, 'disc'"),
        ({"disc": 9, "square": 4}, "Class 'square' has 4 different photos; at least 5"),
        ({"disc": 9, "square\n": 9}, "cannot be called 'square\\\\n'"),
        ({"disc": 9, "Not Sure": 9}, "cannot be called 'Not Sure'"),
        ({"b\u00e4r": 9, "ba\u0308r": 9}, "two of them look the same"),
        ({"disc": 9, "none of these": 9}, "cannot be called 'none of these'"),
    ],
)
def test_folders_that_cannot_be_trained_on(draw, counts: dict[str, int], sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        split(draw(**counts))


def test_photos_one_folder_too_deep_are_told(draw) -> None:
    draw("data/bears", disc=5, square=5)
    with pytest.raises(TrainingError, match=r"no folder with photos.* 10 photos \(bears/disc/00.jpg"):
        split(draw("data"))


def test_a_class_whose_photos_all_look_alike_cannot_be_split(draw) -> None:
    data = draw(disc=9, square=1)
    with Image.open(data / "square" / "00.jpg") as photo:
        for side in range(200, 208):
            photo.resize((side, side * 3 // 4)).save(data / "square" / f"{side}.jpg", quality=90)
    with pytest.raises(TrainingError, match="'square' leaves no photo to train on"):
        split(data)


def test_a_working_folder_that_cannot_be_written_to_is_told(draw, tmp_path: Path) -> None:
    data = draw(disc=5, square=5)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="name another folder: --work DIR"):
        prepare(data, tmp_path / "file", 42, bars(show=False))


def test_folder_without_photos(tmp_path: Path) -> None:
    (tmp_path / "disc").mkdir()
    with pytest.raises(TrainingError, match="no folder with photos"):
        split(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "is not a split file"),
        ("file;class;split;fold;sha256\na.jpg;a;train;;00\n", "CSV in UTF-8 with commas"),
        ("file,class,split,fold,sha256\na.jpg,a,both,,00\n", "the split 'both'"),
        ("file,class,split,fold,sha256\na.jpg,a\n", "the split ''"),
        ("file,class,split,fold,sha256\na.jpg,a,train,9,00\n", "the fold '9'"),
        ("file,class,split,fold,sha256\na.jpg,a,train,1,00\nb.jpg,a,train,,00\n", "a fold and others none"),
        ("file,class,split,fold,sha256\na.jpg,a,train,,00\na.jpg,a,validation,,00\n", "names a.jpg twice"),
    ],
)
def test_file_that_is_no_split(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=says):
        read(path)


def test_a_class_whose_name_is_no_text_is_refused_before_anything_is_trained(draw) -> None:
    data = draw(disc=5, square=5)
    (data / "square").rename(data / os.fsdecode(b"caf\xe9"))
    with pytest.raises(TrainingError, match="a class cannot be called"):
        split(data)


def test_a_file_as_a_spreadsheet_saves_it_is_read(draw) -> None:
    data = draw(disc=5, square=5)
    first = split(data)
    first.path.write_bytes(b"\xef\xbb\xbf" + first.path.read_bytes().replace(b"\n", b"\r\n"))
    assert split(data).rows == first.rows


def test_names_that_are_not_utf8_are_printed_all_the_same(draw, capsysbinary) -> None:
    data = draw(disc=5, square=5)
    (data / "disc" / os.fsdecode(b"caf\xe9\x1b.txt")).write_text("no photo")
    assert main(["split", str(data)]) == 0
    assert "disc/caf��.txt".encode() in capsysbinary.readouterr().out
