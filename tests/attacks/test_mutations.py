"""Photos of each format, changed at random but the same way every time: an answer or a refusal, and nothing else.

`MUTATIONS=10000 make test` tries that many of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from bench.worst import BAR_MB, BAR_S
from tests.attacks.decoding import mended, mutated, subjects
from tests.photos import encode, upright

COUNT = int(os.environ.get("MUTATIONS", "200"))
HANG_S = 60 + COUNT / 4


@pytest.mark.timeout(HANG_S + 60)
@pytest.mark.parametrize("name", subjects())
def test_mutations_are_answered_or_refused(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.attacks.decoding", "mutations", name, str(COUNT), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, f"exit code {done.returncode} of {tmp_path / 'at-work'}: {done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    tried = sum(found["endings"].values())
    assert COUNT // 2 <= tried <= COUNT + 10, found  # fewer, where hypothesis finds no more that differ
    assert found["endings"]["answered"] > 0, found
    assert found["endings"]["broken_image"] > 0, found
    assert found["grown_mb"] < BAR_MB, found
    assert found["cpu_s"] < 5 * BAR_S, found
    print(name, found)


def test_a_process_that_dies_is_seen(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode < 0


def test_edits_change_what_they_say() -> None:
    assert mutated(b"abc", [(1, "flip", 0)]) == b"acc"
    assert mutated(b"abc", [(4, "set", 65)]) == b"aAc"
    assert mutated(b"abcdef", [(1, "extreme", 2)]) == b"a\0\0\0\0f"
    assert mutated(b"abc", [(1, "cut", 0), (0, "repeat", 0)]) == b"aac"
    assert mutated(b"abc", [(1, "end", 0)]) == b"a"


def test_mended_checksums_are_right() -> None:
    data = encode(upright(), "PNG")
    assert mended(data) == data
    broken = bytearray(data)
    broken[20] ^= 1
    assert mended(bytes(broken)) != broken
