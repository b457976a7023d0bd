"""How like a photo is to those that trained: by hand, and which of them a bundle keeps."""

from __future__ import annotations

import numpy as np
import pytest

from app.outside import MOST, NEAREST, PIECE, WIDTH, evenly, read, similarity, unit, write


def at_angle(degrees: float) -> np.ndarray:
    """A feature vector in the plane of the first two axes, of length 3."""
    found = np.zeros(WIDTH, np.float32)
    found[:2] = 3 * np.cos(np.radians(degrees)), 3 * np.sin(np.radians(degrees))
    return found


def test_it_is_the_mean_cosine_to_the_nearest() -> None:
    angles = [10.0 * number for number in range(NEAREST + 5)]
    reference = unit(np.stack([at_angle(each) for each in angles]))
    expected = np.cos(np.radians(angles[:NEAREST])).mean()
    assert similarity(at_angle(0)[None], reference)[0] == pytest.approx(expected, abs=1e-6)


def test_length_does_not_matter_and_order_does_not_either() -> None:
    reference = unit(np.stack([at_angle(each) for each in (40, 0, 80, 20, 60)]))
    one, other = similarity(np.stack([at_angle(7), 100 * at_angle(7)]), reference)
    assert one == pytest.approx(other)
    assert similarity(at_angle(7)[None], reference[::-1])[0] == pytest.approx(one)


def test_fewer_photos_than_nearest_are_all_taken() -> None:
    reference = unit(np.stack([at_angle(0), at_angle(60)]))
    assert similarity(at_angle(0)[None], reference)[0] == pytest.approx(0.75)


def test_the_nearest_may_lie_in_different_pieces() -> None:
    reference = np.tile(unit(at_angle(90)[None]), (2 * PIECE + 1, 1))
    reference[[0, PIECE, 2 * PIECE]] = unit(at_angle(0)[None])
    assert similarity(at_angle(0)[None], reference)[0] == pytest.approx(3 / NEAREST)


def test_a_photo_without_features_is_like_nothing() -> None:
    assert similarity(np.zeros((1, WIDTH), np.float32), unit(at_angle(0)[None]))[0] == 0


def test_what_was_written_is_read_within_float16() -> None:
    features = np.random.default_rng(0).random((MOST, WIDTH), np.float32)
    content = write(features)
    assert len(content) < 1_000_000
    np.testing.assert_allclose(read(content), unit(features), atol=1e-4)


def test_classes_take_turns_and_photos_keep_their_order() -> None:
    labels = ["a"] * 6 + ["b"] * 2 + ["c"] * 4
    assert evenly(labels, 6) == [0, 1, 6, 7, 8, 9]
    assert evenly(labels, 7) == [0, 1, 2, 6, 7, 8, 9]
    assert evenly(labels, 100) == list(range(12))
