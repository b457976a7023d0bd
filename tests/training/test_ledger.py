"""The ledger: a row per URL, one writer, and no other file taken for one."""

from __future__ import annotations

import pytest

from training.errors import TrainingError
from training.ledger import COLUMNS, Ledger, Row


def test_a_ledger_keeps_the_last_row_of_a_url_and_survives_a_line_cut_short(tmp_path):
    path = tmp_path / "ledger.csv"
    with Ledger(path) as kept:
        kept.add(Row("http://a.test/1", "black", "failed", reason="slow, or worse"))
        kept.add(Row("http://a.test/2", "black", "done"))
        kept.add(Row("http://a.test/1", "black", "done"))
        killed_now = path.read_text() + "http://a.test/3,black,do"
    assert len(path.read_text().splitlines()) == 3
    path.write_text(killed_now)
    with Ledger(path) as again:
        assert {row.url for row in again.done()} == {"http://a.test/1", "http://a.test/2"}
        assert again.row("http://a.test/3", "black") is None
    assert len(path.read_text().splitlines()) == 3


def test_only_one_process_writes_a_ledger(tmp_path):
    with Ledger(tmp_path / "ledger.csv"), pytest.raises(TrainingError, match="Another command"):
        Ledger(tmp_path / "ledger.csv").__enter__()
    with Ledger(tmp_path / "ledger.csv"):
        pass


@pytest.mark.parametrize("text", ["", "x" * 200_000 + "\n", "a,b\n", ",".join(COLUMNS) + "\nhttp://a.test\n", "\x00\n"])
def test_another_file_is_no_ledger_and_stays_as_it_is(tmp_path, text):
    (tmp_path / "ledger.csv").write_text(text)
    for _ in range(2):  # the lock is free again
        with pytest.raises(TrainingError, match="is not a ledger"):
            Ledger(tmp_path / "ledger.csv").__enter__()
    assert (tmp_path / "ledger.csv").read_text() == text
