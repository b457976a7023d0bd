"""Two plots of all services: rate by clients, p99 by load. The same results give the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

RATE, LATENCY = "bench-rate.svg", "bench-latency.svg"
OURS = "tellapart"


def draw(served: dict[str, Any], folder: Path) -> None:
    """Write both into the folder."""

    def rate(each: dict[str, Any]) -> tuple[list[str], list[float]]:
        return list(each["closed"]), [bout["rate"] for bout in each["closed"].values()]

    def latency(each: dict[str, Any]) -> tuple[list[str], list[float]]:
        shares = [share for share in each["open"] if share.endswith("%")]
        return shares, [each["open"][share]["p99_ms"] for share in shares]

    _plot(served, rate, folder / RATE, across="clients", up="photos per second")
    _plot(served, latency, folder / LATENCY, across="load, of the service's own peak", up="p99 latency, ms", log=True)


def _plot(
    served: dict[str, Any],
    points: Callable[[dict[str, Any]], tuple[list[str], list[float]]],
    path: Path,
    *,
    across: str,
    up: str,
    log: bool = False,
) -> None:
    # fixed ids, and words as text: a small file that changes only where the figures do
    with mpl.rc_context({"svg.hashsalt": OURS, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for name, each in served.items():
            axes.plot(
                *points(each), marker="o", markersize=3, linewidth=2.2 if name.startswith(OURS) else 1, label=name
            )
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(axis="y", alpha=0.3)
        if log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
