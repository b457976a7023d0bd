"""Decodes many files in a process of its own, which a decoder may take down: python -m tests.attacks.decoding …

    mutations COUNT FILE   FILE is a photo; COUNT mutations of it, by hypothesis, always the same
    corpus FILE…           each file as it is

What is being decoded lies in the file LAST of the working directory, so that after a crash it can be looked at. Prints
one JSON object: how often each answer came, and the worst of its costs.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Refusal
from app.image import Preprocess, model_input, read_photo
from bench.worst import decode, warm_up

LAST = Path("last")
PREPROCESS = Preprocess()
SPAN = 1 << 16
# Numbers that parsers trip over.
ODD = [bytes.fromhex(each) for each in ["00", "ff", "7f", "80", "ffff", "0000", "8000", "7fffffff", "ffffffff"]]
EDITS = st.tuples(
    st.sampled_from(["set", "set", "set", "insert", "cut", "double"]),
    st.one_of(st.integers(0, 63), st.integers(0, SPAN - 1)),  # a place: of the head, or by its share of the whole
    st.one_of(st.sampled_from(ODD), st.binary(min_size=1, max_size=8)),
)


def mutated(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """The bytes with each edit made in turn."""
    for what, place, put in edits:
        at = min(place, len(data)) if place < 64 else place * len(data) // SPAN
        end = at + len(put) * (8 if what in ("cut", "double") else 1)
        middle = {"set": put, "insert": put + data[at:end], "cut": b"", "double": 2 * data[at:end]}[what]
        data = data[:at] + middle + data[end:]
    return data


def mutations(data: bytes, count: int) -> dict[str, Any]:
    """Decode `count` mutations; what is neither a refusal nor an input of the right shape raises."""
    answers: Counter[str] = Counter()
    slowest = 0.0

    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(EDITS, min_size=1, max_size=6))
    def check(edits: list[tuple[str, int, bytes]]) -> None:
        nonlocal slowest
        changed = mutated(data, edits)
        LAST.write_bytes(changed)
        started = time.process_time()
        try:
            assert model_input(read_photo(changed, enough=512), PREPROCESS).shape == (224, 224, 3)
            answers["read"] += 1
        except Refusal as refusal:
            answers[refusal.code] += 1
        slowest = max(slowest, time.process_time() - started)

    check()
    return {"answers": answers, "cpu_s": slowest}


def corpus(files: list[Path]) -> dict[str, Any]:
    """Decode each file; the costs of the dearest ones, by file."""
    answers: Counter[str] = Counter()
    costs: dict[str, dict[str, float]] = {}
    for file in files:
        data = file.read_bytes()
        LAST.write_text(str(file))
        found = decode(data)
        answer = found.pop("answer")
        answers["read" if "×" in answer else answer] += 1
        costs[str(file)] = found
    return {"answers": answers, "costs": costs}


if __name__ == "__main__":
    warm_up()
    what, *rest = sys.argv[1:]
    result = (
        mutations(Path(rest[1]).read_bytes(), int(rest[0])) if what == "mutations" else corpus(list(map(Path, rest)))
    )
    print(json.dumps(result))
