from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import TrainingError
from training.files import working_in, write_bytes


def test_what_cannot_be_written_leaves_nothing_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_bytes(tmp_path / "photo.jpg", b"bytes")
    assert caught.value.filename == str(tmp_path / "photo.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_working_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    with working_in(tmp_path / "work"), pytest.raises(TrainingError, match="Another command is at work"):
        working_in(tmp_path / "work").__enter__()
    with working_in(tmp_path / "work"):
        pass
