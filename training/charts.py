"""Line charts as numbers that a template draws as SVG, in the page's own colours: which lines, ticks, and where.

(matplotlib's SVG brings its own fonts and colours, which know nothing of a dark page, and takes a second to import.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from training.calibrate import Calibration
from training.history import FINAL, Epoch, Step

# Pixels of the drawing, and of the edges of the part within the ticks.
EDGE = {"width": 360, "height": 200, "left": 54, "right": 350, "top": 10, "bottom": 172}
MOST_POINTS = 300  # of a line: more than its pixels can show

Points = Sequence[tuple[float, float]]
Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class Line:
    """Points to be joined; `kind` holds the CSS classes that say how it looks: train, valid or rate, perhaps faint."""

    kind: str
    points: Points


@dataclass(frozen=True)
class Chart:
    """A drawn chart: words, ticks as (pixel, word), lines as (kind, SVG path), the pixel of a line to mark, or None."""

    title: str
    across: str
    x_ticks: Ticks
    y_ticks: Ticks
    paths: list[tuple[str, str]]
    legend: list[tuple[str, str]] = field(default_factory=list)
    mark: float | None = None


def draw(
    title: str,
    lines: Sequence[Line],
    *,
    across: str,
    top: float,
    word: Callable[[float], str] = "{:g}".format,
    legend: Sequence[tuple[str, str]] = (),
    mark: float | None = None,
) -> Chart:
    """A chart from 0 to `top`; `word` writes a tick of the y axis, `legend` holds (kind, what it is)."""
    right = max((x for line in lines for x, _ in line.points), default=0.0)
    left = min((x for line in lines for x, _ in line.points), default=0.0)
    up, along = spacing(top or 1.0, 4), max(1.0, spacing(right - left or 1.0, 6))
    ys = [up * number for number in range(1 + math.ceil((top or 1.0) / up - 1e-9))]
    xs = [along * number for number in range(math.ceil(left / along), 1 + math.floor(right / along))]

    def across_at(x: float) -> float:
        share = (x - left) / (right - left) if right > left else 0.5
        return round(EDGE["left"] + share * (EDGE["right"] - EDGE["left"]), 1)

    def down_at(y: float) -> float:
        return round(EDGE["bottom"] - y / ys[-1] * (EDGE["bottom"] - EDGE["top"]), 1)

    return Chart(
        title,
        across,
        [(across_at(x), f"{x:g}") for x in xs],
        [(down_at(y), word(y)) for y in ys],
        [(line.kind, path([(across_at(x), down_at(y)) for x, y in thinned(line.points)])) for line in lines],
        list(legend),
        None if mark is None else across_at(mark),
    )


def spacing(span: float, most: int) -> float:
    """The distance of ticks: the least of 1, 2 and 5 times a power of ten that cuts `span` into `most` parts or fewer.

    Source: Heckbert, "Nice numbers for graph labels", Graphics Gems (1990).
    """
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(each * power for each in (1, 2, 5, 10) if span / (each * power) <= most + 1e-9)


def path(points: Points) -> str:
    """SVG path data; a single point becomes a dot, as the line's caps are round."""
    places = [f"{x:g} {y:g}" for x, y in points]
    return "M" + "L".join(places if len(places) > 1 else places * 2)


def thinned(points: Points) -> Points:
    """At most about MOST_POINTS of the points, evenly, the last one among them."""
    stride = -(-len(points) // MOST_POINTS)
    return [*points[:-1:stride], points[-1]]


def phase_charts(epochs: Sequence[Epoch], steps: Sequence[Step], phase: str, best: int | None) -> list[Chart]:
    """Loss, error rate and learning rate of one phase; vertical axes are the same in all phases, rates excepted.

    `best`: the epoch (from 0) whose network was kept, if it is of this phase.
    """
    mark = None if best is None else best + 1
    train = lines_of(epochs, phase, "train", lambda epoch: epoch.train_loss)
    valid = lines_of(epochs, phase, "valid", lambda epoch: epoch.valid_loss)
    errors = lines_of(epochs, phase, "valid", lambda epoch: epoch.valid_error)
    losses = [loss for epoch in epochs for loss in (epoch.train_loss, epoch.valid_loss) if loss is not None]
    top_error = max((epoch.valid_error for epoch in epochs if epoch.valid_error is not None), default=0.0)
    legend = [("train", "training"), ("valid", "validation")]
    first = next(step.fit for step in steps if step.phase == phase)  # every fit goes through the same cycle
    rate = [(float(step.step), step.lr) for step in steps if (step.phase, step.fit) == (phase, first)]
    return [
        draw("Loss", [*train, *valid], across="epoch", top=max(losses), legend=legend, mark=mark),
        draw("Error rate", errors, across="epoch", top=top_error, word=percent, mark=mark),
        draw("Learning rate", [Line("rate", rate)], across="step", top=max(y for _, y in rate), word=short),
    ]


def reliability_chart(found: Calibration) -> Chart:
    """Success by confidence, in percent, before and after calibration; the faint line is where they agree."""
    sides = (("train", found.before), ("valid", found.after))
    lines = [Line(kind, [(100 * each.confidence, each.right) for each in side.bins]) for kind, side in sides]
    least = min(x for line in lines for x, _ in line.points)
    agree = Line("valid faint", [(least, least / 100), (100.0, 1.0)])
    legend = [("train", "before"), ("valid", "after")]
    return draw("Right", [agree, *lines], across="confidence, %", top=1.0, word=percent, legend=legend)


def lines_of(epochs: Sequence[Epoch], phase: str, kind: str, value: Callable[[Epoch], float | None]) -> list[Line]:
    """A line of `value` by epoch (from 1), or a faint one per fit and their mean; the final fit is always faint."""
    fits: dict[str, list[tuple[float, float]]] = {}
    for epoch in epochs:
        found = value(epoch)
        if epoch.phase == phase and found is not None:
            fits.setdefault(epoch.fit, []).append((epoch.epoch + 1.0, found))
    judged = [points for fit, points in fits.items() if fit != FINAL]
    faint = [Line(f"{kind} faint", points) for points in fits.values()] if len(fits) > 1 else []
    mean = [(both[0][0], fmean(y for _, y in both)) for both in zip(*judged, strict=True)]
    return [*faint, Line(kind, mean)] if mean else faint


def percent(share: float) -> str:
    """ "12.5 %" """
    return f"{100 * share:g} %"


def short(value: float) -> str:
    """A small number in few letters: "7.5e-4"."""
    return f"{value:g}" if not value else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
