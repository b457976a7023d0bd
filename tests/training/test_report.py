from __future__ import annotations

import base64
import io
import re
from argparse import Namespace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import Draw, picture
from tests.training.runs import write_run
from training.charts import MOST_POINTS, phase_charts, spacing, thinned
from training.errors import TrainingError
from training.folders import Row
from training.history import HEAD, UNFROZEN, Epoch, Step, read_epochs, read_predictions, read_steps
from training.report import MOST_CLASSES, PHOTOS, matrix, render, run
from training.run_folder import read_run


class Page(HTMLParser):
    """A page's text, its tags, and every address in it."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.text, self.tags, self.addresses = "", [], []
        self.feed(content.decode())
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td", "dt", "dd", "h1", "h2", "h3", "p", "li", "small", "div"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> Page:
    return Page(render(read_run(folder)))


def photos_in(page: Page) -> list[Image.Image]:
    """The thumbnails of a run that has no picture of a batch."""
    pictures = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    return [Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) for address in pictures]


def test_the_page_begins_with_the_rate_then_diagnosis_then_what_to_do(draw: Draw, tmp_path: Path) -> None:
    diagnosis = [{"name": "Too few photos", "evidence": "Each class has 10.", "advice": "Add some."}]
    mistakes = {"disc/03.jpg": "square", "square/04.jpg": "disc"}
    made = write_run(tmp_path / "my run", draw(disc=10, square=10), mistakes=mistakes, diagnosis=diagnosis)
    text = page_of(made).text
    wanted = [
        "2 of 20 photos wrong: 10.0 %", "2.8 % to 30.1 %", "Out of fold: each of the 20 photos", "Too few photos",
        "Each class has 10.", "Add some.", f"training clean '{made}'", f"compare '{made}'", "--out 'models/my run'",
        "Confusion matrix", "Most confused", "Error rate of each class", "Learning rate", "augmentation: rotate",
        "torch",
    ]  # fmt: skip
    places = [text.find(words, text.find("tellapart")) for words in wanted]
    assert -1 not in places
    assert places == sorted(places)


def test_the_command_writes_one_page_that_loads_nothing(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_run(tmp_path / "run", draw(disc=10, square=10), mistakes={"disc/03.jpg": "square"})
    assert run(Namespace(run_folder=made, data=None, out=None)) == 0
    content = (made / "report.html").read_bytes()
    assert str(made / "report.html") in capsys.readouterr().out
    page = Page(content)
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(rb"url\(|@import|<script|<iframe|https?://", content)
    assert run(Namespace(run_folder=made, data=None, out=tmp_path / "other" / "page.html")) == 0
    assert (tmp_path / "other" / "page.html").read_bytes() == content


def test_a_run_without_mistakes_has_nothing_to_clean(draw: Draw, tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path / "run", draw(disc=10, square=10))).text
    assert "0 of 20 photos wrong: 0.0 %" in text
    assert "Nothing to complain of" in text
    assert "training clean" not in text
    assert "Most confused" not in text


def test_the_fast_lane_with_one_split_has_one_phase_and_no_batch(draw: Draw, tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", draw(disc=10, square=10), lane="fast", folds=False)
    page = page_of(made)
    assert "0 of 4 photos wrong" in page.text
    assert "The head alone" in page.text
    assert "Everything unfrozen" not in page.text
    assert "as the network saw them" not in page.text
    assert "mean of the folds" not in page.text


def test_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    names = ["<script>alert(1)<", '" onload="x', "Ünï & 熊"]  # a / cannot be in a folder's name
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(5):
            picture("disc", number).save(tmp_path / "data" / name / f"{number} <b>.JPG")
    mistakes = {f"{names[0]}/0 <b>.JPG": names[1], f"{names[2]}/0 <b>.JPG": names[0]}
    page = page_of(write_run(tmp_path / "<i>run", tmp_path / "data", mistakes=mistakes))
    assert "script" not in page.tags
    assert "i" not in page.tags
    for name in names:
        assert name in page.text
    assert f"{names[0]}/0 <b>.JPG" in page.text


def test_a_name_that_is_no_utf_8_leaves_a_page_that_is(tmp_path: Path) -> None:
    rows = [Row(f"{label}/\udcff{number}.jpg", label, "", f"{number}") for label in "ab" for number in range(5)]
    assert "a/?0.jpg" in page_of(write_run(tmp_path / "run", tmp_path, rows=rows)).text


def test_photos_that_are_gone_changed_or_broken_are_named_without_a_picture(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=5, square=5)
    (data / "disc" / "03.jpg").write_bytes(b"\xff\xd8\xff broken")
    mistakes = {f"disc/0{number}.jpg": "square" for number in range(4)}
    made = write_run(tmp_path / "run", data, mistakes=mistakes, lane="fast")
    (data / "disc" / "00.jpg").unlink()
    picture("square", 1).save(data / "disc" / "01.jpg")
    page = page_of(made)
    for words in ("no longer there", "was changed since", "damaged", *mistakes):
        assert words in page.text
    assert len(photos_in(page)) == 7


def test_photos_that_moved_are_found_with_data(draw: Draw, tmp_path: Path) -> None:
    data = draw(disc=5, square=5)
    made = write_run(tmp_path / "run", data, lane="fast")
    data.rename(tmp_path / "moved")
    assert photos_in(page_of(made)) == []
    assert len(photos_in(Page(render(read_run(made, tmp_path / "moved"))))) == 10


def test_pictures_are_small_few_upright_and_without_metadata(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(PHOTOS):
            pixels = noise.integers(0, 256, (300, 700, 3), dtype=np.uint8)
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by 90°
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.jpg", exif=exif, comment=b"home")
    mistakes = {f"a/{number}.jpg": "b" for number in range(PHOTOS)}
    made = write_run(tmp_path / "run", tmp_path / "data", mistakes=mistakes, lane="fast")
    content = render(read_run(made))
    photos = photos_in(Page(content))
    assert len(photos) == PHOTOS
    for photo in photos:
        assert photo.width < photo.height <= 300
        assert not photo.getexif()
        assert "comment" not in photo.info
    assert len(content) < 2_000_000


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (MOST_CLASSES, MOST_CLASSES), (200, MOST_CLASSES)])
def test_of_many_classes_the_matrix_shows_the_most_confused(tmp_path: Path, classes: int, shown: int) -> None:
    rows = [Row(f"{label:03}/{n}.jpg", f"{label:03}", "", f"{label} {n}") for label in range(classes) for n in range(5)]
    last, before = f"{classes - 1:03}", f"{classes - 2:03}"
    mistakes = {f"{last}/{n}.jpg": before for n in range(3)}
    made = write_run(tmp_path / "run", tmp_path, rows=rows, mistakes=mistakes)
    content = render(read_run(made))
    text = Page(content).text
    assert f"{last} {before} 3 of 5 60.0 %" in text
    assert text.count("most confused ones.") == (classes > shown)
    assert all(f" {label:03} 5 " in text for label in range(classes) if f"{label:03}" != last)  # each class's rate
    assert len(content) < 1_000_000


def test_the_chosen_classes_keep_their_order_and_counts(tmp_path: Path) -> None:
    rows = [Row(f"{label:02}/{n}.jpg", f"{label:02}", "", f"{label} {n}") for label in range(40) for n in range(5)]
    made = write_run(tmp_path / "run", tmp_path, rows=rows, mistakes={"39/0.jpg": "07", "20/0.jpg": "39"})
    found = matrix(read_predictions(made), read_run(made).classes)
    assert {"07", "20", "39"} <= set(found["classes"])
    assert found["classes"] == sorted(found["classes"])
    place = found["classes"].index
    assert found["rows"][place("39")][place("07")] == 1
    assert found["rows"][place("39")][place("39")] == 4


def test_folds_are_faint_around_their_mean_and_the_final_fit_is_faint_alone(draw: Draw, tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", draw(disc=5, square=5))
    loss, error, rate = phase_charts(read_epochs(made), read_steps(made), UNFROZEN, best=2)
    assert [kind for kind, _ in loss.paths] == [*["train faint"] * 6, "train", *["valid faint"] * 5, "valid"]
    assert [kind for kind, _ in error.paths] == [*["valid faint"] * 5, "valid"]
    assert [kind for kind, _ in rate.paths] == ["rate"]
    third = loss.x_ticks[[word for _, word in loss.x_ticks].index("3")][0]
    assert loss.mark == third  # epochs are counted from 1


def test_a_chart_puts_zero_below_and_more_above() -> None:
    epochs = [Epoch("0", HEAD, number, 1e-3, loss, loss, 0.0, 1.0) for number, loss in enumerate((2.0, 1.0))]
    loss, error, _ = phase_charts(epochs, [Step("0", HEAD, 0, 1e-3, 0.9, 1.0)], HEAD, None)
    ticks = {word: pixel for pixel, word in loss.y_ticks}
    assert loss.paths[0] == ("train", f"M54 {ticks['2']:g}L350 {ticks['1']:g}")
    assert ticks["0"] > ticks["1"] > ticks["2"]
    assert loss.mark is None
    assert error.paths  # a rate of 0 throughout is a line at the bottom


@pytest.mark.parametrize(
    ("span", "most", "expected"),
    [(1.0, 4, 0.5), (2.0, 4, 0.5), (0.8, 4, 0.2), (3e-3, 4, 1e-3), (29.0, 6, 5.0), (7.0, 7, 1.0), (1234.0, 6, 500.0)],
)
def test_ticks_stand_at_round_numbers(span: float, most: int, expected: float) -> None:
    assert spacing(span, most) == pytest.approx(expected)


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    points = [(float(x), 0.0) for x in range(10 * MOST_POINTS + 7)]
    found = thinned(points)
    assert len(found) <= MOST_POINTS + 1
    assert (found[0], found[-1]) == (points[0], points[-1])
    assert thinned(points[:1]) == points[:1]


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no finished run"):
        run(Namespace(run_folder=tmp_path, data=None, out=None))
