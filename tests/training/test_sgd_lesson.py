from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.__main__ import main
from training.sgd_lesson import (
    RATES,
    START,
    TRUTH,
    descend,
    gradient,
    gradient_by_autograd,
    mean_squared_error,
    measure,
    mini_batches,
    verdict,
)


def test_the_gradient_by_hand_is_autograds() -> None:
    x, y = measure(1)
    assert gradient(START, x, y) == pytest.approx(gradient_by_autograd(START, x, y))


def test_an_epoch_of_mini_batches_holds_every_point_once() -> None:
    batches = mini_batches(1)
    assert len(batches) == 60
    assert sorted(np.concatenate(batches[:10]).tolist()) == list(range(100))


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_one_rate_crawls_one_arrives_one_diverges(seed: int) -> None:
    x, y = measure(seed)
    lines = {name: descend(x, y, rate, mini_batches(seed)) for name, rate in RATES.items()}
    found = {name: verdict(mean_squared_error(each[-1], x, y), x, y) for name, each in lines.items()}
    assert found == {"too low": "still on its way", "right": "arrived", "too high": "diverged"}
    assert lines["right"][-1] == pytest.approx(TRUTH, abs=0.4)


def test_the_command_draws_a_gif_and_a_page_that_needs_nothing_else(tmp_path: Path, capsys) -> None:
    gif, page = tmp_path / "a.gif", tmp_path / "b.HTML"
    assert main(["sgd", "--out", str(gif)]) == 0
    assert gif.stat().st_size < 1e6
    with Image.open(gif) as picture:
        assert picture.n_frames == 61
    assert "diverged" in capsys.readouterr().out
    assert main(["sgd", "--out", str(page)]) == 0
    assert "http" not in page.read_text()
    assert page.read_text().count("data:image/png;base64,") == 61


@pytest.mark.parametrize("seed", ["42", "7"])
def test_words_stay_inside_the_picture_however_large_the_numbers(tmp_path: Path, seed: str) -> None:
    still = tmp_path / "last step, größer.png"
    assert main(["sgd", "--out", str(still), "--seed", seed]) == 0
    with Image.open(still) as picture:
        margin = np.asarray(picture.convert("RGB"))[60:, 1087:].reshape(-1, 3)
    assert len(np.unique(margin, axis=0)) == 1


def test_what_stands_at_out_is_replaced_only_by_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "folder.gif").mkdir()
    assert main(["sgd", "--out", str(tmp_path / "folder.gif")]) == 2
    (tmp_path / "old.png").write_text("old")
    assert main(["sgd", "--out", str(tmp_path / "old.png")]) == 0
    with Image.open(tmp_path / "old.png") as picture:
        assert picture.size == (1100, 640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.gif", "old.png"]


@pytest.mark.parametrize("flags", [["--out", "x.mp4"], ["--out", "/proc/x/sgd.gif"], ["--seed", "-1"]])
def test_bad_input_is_one_sentence(capsys, flags: list[str]) -> None:
    assert main(["sgd", *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
