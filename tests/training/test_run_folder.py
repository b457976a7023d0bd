"""A run folder that is damaged, or of another version."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import TrainingError
from training.run_folder import SUMMARY, read_run


@pytest.mark.parametrize("content", ["{}", "[]", "7", '{"format": 2}'])
def test_json_that_is_no_run_of_ours_is_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMMARY).write_text(content)
    with pytest.raises(TrainingError, match="not of a run that this version reads"):
        read_run(tmp_path)
