"""Figures on their way to docs/bench.json: medians over rounds, four digits, one file for all that measures."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.settings import ROOT
from bench.load import percentile
from bench.machine import machine

RESULTS = ROOT / "docs" / "bench.json"


def store(path: Path, **found: Any) -> None:
    """Put these into the file, beside or instead of what it holds, with the machine they were measured on."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    measured = {**kept.get("measured", {}), **dict.fromkeys(found, machine())}
    path.write_text(json.dumps({**kept, **rounded(found), "measured": measured}, indent=1) + "\n")
    print(f"Written to {path}")


def medians(rounds: Sequence[Any]) -> Any:
    """Rounds of the same shape → that shape with the median in place of each number; what failed is added up, and of
    lists the percentiles are those of all rounds together."""
    first = rounds[0]
    if isinstance(first, list):
        values = [value for each in rounds for value in each]
        return {"p50": percentile(values, 50), "p99": percentile(values, 99), "max": percentile(values, 100)}
    if isinstance(first, dict):
        return {key: medians([each[key] for each in rounds]) if key != "failed" else _sum(rounds) for key in first}
    known = [value for value in rounds if not math.isnan(value)]
    return statistics.median(known) if known else None


def _sum(rounds: Sequence[dict[str, float]]) -> float:
    return sum(each["failed"] for each in rounds)


def rounded(value: Any) -> Any:
    """Numbers to four significant digits, whatever they are in; None for what was not measured."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value
