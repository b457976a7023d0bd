"""The command tune, and the plan that it compares others with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app import tune
from app.__main__ import main
from app.cpu import Plan, usable_cores
from app.settings import ROOT, Settings
from tests.live import clean_env


@pytest.mark.parametrize(("streams", "workers"), [(1, 2), (2, 3), (16, 17)])
def test_one_worker_more_than_streams(streams: int, workers: int) -> None:
    assert Plan(streams).workers == workers


@pytest.mark.parametrize(
    ("cores", "tried"), [(1, [1, 2]), (2, [1, 2, 3, 4]), (4, [1, 2, 3, 4, 5, 8]), (64, [1, 32, 63, 64, 65, 128])]
)
def test_the_rules_own_number_is_among_those_tried(cores: int, tried: list[int]) -> None:
    assert tune.candidates(cores) == tried


def test_every_plan_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.tune(Settings(), rounds=1, bout_s=0.1) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.endswith(("%", "auto"))]
    assert [int(row[0]) for row in rows] == tune.candidates(usable_cores())
    assert all(float(row[1]) > 0 for row in rows)
    assert "100" in {row[2] for row in rows}
    assert [int(row[0]) for row in rows if row[-1] == "auto"] == [usable_cores()]
    assert lines[-1].startswith(("Nothing to set", "Set --threads "))


@pytest.mark.parametrize(
    ("rates", "advice"),
    [
        ({1: 50.0, 2: 100.0, 3: 104.0}, "Nothing to set: auto is as good as the best, within 5 %."),
        ({1: 50.0, 2: 100.0, 3: 106.0}, "Set --threads 3 (or TELLAPART_THREADS=3): 6 % more than auto."),
        ({1: 200.0, 2: 100.0, 3: 90.0}, "Set --threads 1 (or TELLAPART_THREADS=1): 100 % more than auto."),
    ],
)
def test_it_says_what_to_set(rates: dict[int, float], advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    tune.print_table(rates, 2)
    assert capsys.readouterr().out.splitlines()[-1] == advice


def test_a_missing_bundle_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--model", str(tmp_path / "none")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_on_a_terminal_rounds_are_counted_and_ctrl_c_is_exit_code_130() -> None:
    command = [sys.executable, "-m", "app", "tune"]
    terminal, stderr = os.openpty()
    with subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdout=subprocess.DEVNULL, stderr=stderr) as process:
        os.close(stderr)
        shown = b""
        with suppress(OSError):  # how a terminal ends when nobody writes to it any more
            while data := os.read(terminal, 1000):
                if b"round 1 of" in shown + data and b"round 1 of" not in shown:
                    process.send_signal(signal.SIGINT)
                shown += data
        os.close(terminal)
    assert process.returncode == 130
    assert shown.endswith(b"Stopped.\r\n")
    assert b"Traceback" not in shown
    assert b"round 5 of" not in shown
