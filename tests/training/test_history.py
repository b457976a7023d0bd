from pathlib import Path

import pytest

from training import history
from training.errors import TrainingError
from training.history import Epoch, Prediction, Step


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    epochs = [Epoch("0", "head", 0, 1e-3, 0.5, 0.4, 0.25, 1.5), Epoch("final", "head", 0, 1e-3, 0.5, None, None, 1.5)]
    steps = [Step("0", "head", 7, 1e-3, 0.95, 0.5)]
    predictions = [Prediction("a b/é,1.jpg", "a b", "C", "0", 1.5, 0.25, {"C": 0.75, "a b": 0.25})]
    history.write_epochs(tmp_path, epochs)
    history.write_steps(tmp_path, steps)
    history.write_predictions(tmp_path, predictions, ["C", "a b"])
    assert history.read_epochs(tmp_path) == epochs
    assert history.read_steps(tmp_path) == steps
    assert history.read_predictions(tmp_path) == predictions


@pytest.mark.parametrize("text", [None, "fit,phase\n0,head\n", "fit,phase,step,lr,momentum,loss\n0,head,x,1,1,1\n"])
def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / history.STEPS).write_text(text)
    with pytest.raises(TrainingError, match=r"steps\.csv cannot be read"):
        history.read_steps(tmp_path)


def test_a_finished_run_has_rows(tmp_path: Path) -> None:
    history.write_steps(tmp_path, [])
    with pytest.raises(TrainingError, match=r"steps\.csv holds no rows"):
        history.read_steps(tmp_path)
