from __future__ import annotations

from training.history import Prediction
from training.interpret import Confused, confusion, most_confused, rates, top_losses


def said(file: str, label: str, predicted: str, loss: float = 0.1) -> Prediction:
    return Prediction(file, label, predicted, "0", loss, 0.9, {label: 0.5, predicted: 0.5})


ANSWERS = [
    said("1", "black", "black"),
    said("2", "black", "grizzly", 2.0),
    said("3", "black", "grizzly", 3.0),
    said("4", "grizzly", "black", 2.0),
    said("5", "teddy", "teddy", 0.7),
]
CLASSES = ["black", "grizzly", "teddy"]


def test_the_matrix_has_true_classes_down_and_predicted_ones_across() -> None:
    assert confusion(ANSWERS, CLASSES).tolist() == [[1, 2, 0], [1, 0, 0], [0, 0, 1]]


def test_the_matrix_of_some_classes_leaves_the_others_out() -> None:
    assert confusion(ANSWERS, ["grizzly", "teddy"]).tolist() == [[0, 0], [0, 1]]


def test_most_confused_pairs_are_mistakes_in_one_direction_by_frequency() -> None:
    assert most_confused(ANSWERS) == [Confused("black", "grizzly", 2, 3), Confused("grizzly", "black", 1, 1)]
    assert most_confused(ANSWERS[:1]) == []


def test_top_losses_are_by_loss_and_then_by_file() -> None:
    assert [each.file for each in top_losses(ANSWERS, 4)] == ["3", "2", "4", "5"]


def test_rates_are_counted_in_all_and_per_class_and_carry_intervals() -> None:
    found = rates(ANSWERS, CLASSES)
    assert (found["errors"], found["photos"], found["error_rate"]) == (3, 5, 0.6)
    assert {name: each["errors"] for name, each in found["per_class"].items()} == {"black": 2, "grizzly": 1, "teddy": 0}
    low, high = found["per_class"]["black"]["wilson95"]
    assert 0 < low < 2 / 3 < high < 1


def test_a_class_that_nobody_was_asked_about_has_no_rate() -> None:
    assert "unseen" not in rates(ANSWERS, [*CLASSES, "unseen"])["per_class"]
