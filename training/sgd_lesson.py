"""The sgd command, written as a lesson: how a machine learns a line, y = ax + b, by stochastic gradient descent (SGD).

Read it from top to bottom. A network with millions of weights learns just so; a line has two, and two can be drawn.
After fast.ai 2018, lesson 2. The lesson is parts 1 to 6; what comes after them draws it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from training.errors import TrainingError
from training.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
Batch = NDArray[np.int64]  # places of ten points

# 1. The data. Somebody measured 100 points on a line, each a little wrong. We see the points and want the line.


class Line(NamedTuple):
    """y = ax + b: a says how steep, b how high. These two numbers are what is learnt: the weights."""

    a: float
    b: float

    def __str__(self) -> str:
        return f"a = {self.a:.3g}, b = {self.b:.3g}"


TRUTH = Line(a=3.0, b=2.0)
START = Line(a=-2.0, b=-1.0)  # any guess will do


def measure(seed: int) -> tuple[Floats, Floats]:
    """100 x between -1 and 1, and their y with normal noise of standard deviation 0.5."""
    chance = np.random.default_rng(seed)
    x = chance.uniform(-1, 1, 100)
    return x, TRUTH.a * x + TRUTH.b + chance.normal(0, 0.5, 100)


# 2. The loss: how wrong is a line? Square each point's error, so that too high and too low both count, and average.


def mean_squared_error(line: Line, x: Floats, y: Floats) -> float:
    """The number to make small."""
    return float(np.mean((line.a * x + line.b - y) ** 2))


# 3. The gradient: if a grew a little, would the loss grow or shrink, and how fast? School calculus tells: the slope of
#    error² is 2 · error, times how much the error itself moves with a (that is x) or with b (that is 1).


def gradient(line: Line, x: Floats, y: Floats) -> Line:
    """The slope of the loss along a and along b, by hand."""
    error = line.a * x + line.b - y
    return Line(a=float(np.mean(2 * error * x)), b=float(np.mean(2 * error)))


def gradient_by_autograd(line: Line, x: Floats, y: Floats) -> Line:
    """The same from torch, which watches the loss being computed and does the calculus itself, for any network."""
    import torch

    a, b = (torch.tensor(weight, dtype=torch.float64, requires_grad=True) for weight in line)
    loss = ((a * torch.from_numpy(x) + b - torch.from_numpy(y)) ** 2).mean()
    return Line(*(slope.item() for slope in torch.autograd.grad(loss, (a, b))))


# 4. The step. The gradient points uphill, so go the other way. How far? That is the learning rate.


def step(line: Line, rate: float, x: Floats, y: Floats) -> Line:
    """One step downhill."""
    slope = gradient(line, x, y)
    return Line(line.a - rate * slope.a, line.b - rate * slope.b)


# 5. The mini-batch. Ten points drawn by lot show the way nearly as well as all 100, for a tenth of the work: that is
#    the "stochastic" in SGD. Six times through all the points (six epochs) make 60 steps.


def mini_batches(seed: int) -> list[Batch]:
    """Which ten points each of the 60 steps looks at."""
    chance = np.random.default_rng(seed)
    return [batch for _ in range(6) for batch in chance.permutation(100).reshape(10, 10)]


def descend(x: Floats, y: Floats, rate: float, batches: list[Batch]) -> list[Line]:
    """The line at the start and after each step."""
    lines = [START]
    for batch in batches:
        lines.append(step(lines[-1], rate, x[batch], y[batch]))
    return lines


# 6. The rate decides. Too low, and it crawls; too high, and each step lands further up the other side of the valley.

RATES = {"too low": 0.005, "right": 0.1, "too high": 1.1}


def lowest_loss(x: Floats, y: Floats) -> float:
    """The loss of the best line there is, from the formula for it (least squares). What is left over is noise."""
    return mean_squared_error(Line(*np.polyfit(x, y, deg=1).tolist()), x, y)


def verdict(loss: float, x: Floats, y: Floats) -> str:
    """What to say of a descent whose loss is now `loss`."""
    if loss > 10 * mean_squared_error(START, x, y):
        return "diverged"
    return "arrived" if loss < 1.1 * lowest_loss(x, y) else "still on its way"


# Here the lesson ends; the rest is the command and its drawing.

PAPER, INK, SOFT, GRID = "#f8f5ef", "#241f1a", "#665d52", "#ddd5c8"  # as on the page, static/page.css
COLOURS = {"too low": SOFT, "right": "#1f6f54", "too high": "#a3271c"}
LINE_VIEW, LOSS_VIEW = (-6, 9), (0.03, 1e4)
DURATIONS = [600, *[300] * 10, *[90] * 49, 4000]  # ms a picture: the first steps slowly, they tell most
HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>SGD</title>
<style>body{max-width:1100px;margin:2rem auto;padding:0 1rem;background:#f8f5ef;accent-color:#1f6f54}
img,input{width:100%}</style>
<img alt="A line learnt at three learning rates: too low, right, too high">
<input type="range" min="0" max="60" value="0" aria-label="Step">
<script>
const frames = FRAMES, durations = DURATIONS;
const picture = document.querySelector("img"), slider = document.querySelector("input");
const show = () => { picture.src = frames[slider.value]; };
const next = () => { slider.value = (+slider.value + 1) % frames.length; play(); };
const play = () => { show(); timer = setTimeout(next, durations[slider.value]); };
let timer = 0;
slider.oninput = () => { clearTimeout(timer); show(); };
matchMedia("(prefers-reduced-motion: reduce)").matches ? show() : play();
</script></html>
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    out_help = "animation to write: .gif, .html (with a slider), or .png, its last picture [sgd.gif]"
    parser.add_argument("--out", type=Path, default=Path("sgd.gif"), metavar="FILE", help=out_help)
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="other points and other mini-batches [42]")


def run(args: argparse.Namespace) -> int:
    """Descend at three rates, draw it, and say where each arrived."""
    check(args.out, args.seed)
    x, y = measure(args.seed)
    batches = mini_batches(args.seed)
    descents = {name: descend(x, y, rate, batches) for name, rate in RATES.items()}
    console = Console(stderr=True)
    suffix = args.out.suffix.lower()
    numbers = range(len(batches) + 1) if suffix != ".png" else [len(batches)]
    pictures = draw(x, y, batches, descents, numbers)
    quiet = not console.is_terminal
    frames = list(track(pictures, "drawing", len(numbers), console=console, transient=True, disable=quiet))
    write_bytes(args.out, encode(frames, suffix))
    by_hand, by_torch = gradient(START, x, y), gradient_by_autograd(START, x, y)
    rows = [f"gradient    by hand {by_hand} · by autograd {by_torch}"]
    rows += [f"truth       {TRUTH}, loss {mean_squared_error(TRUTH, x, y):.3g}, all of it noise"]
    for name, lines in descents.items():
        loss = mean_squared_error(lines[-1], x, y)
        rows += [f"{name:11} {lines[-1]}, loss {loss:.3g}: {verdict(loss, x, y)} (rate {RATES[name]})"]
    print(*rows, f"Look at {args.out}. Then find your photos' rate: python -m training lr-find DATA", sep="\n")  # noqa: T201
    return 0


def check(out: Path, seed: int) -> None:
    """Refuse at once what would fail after the drawing."""
    if out.suffix.lower() not in (".gif", ".html", ".png"):
        raise TrainingError(f"--out {out}: give a name that ends in .gif, .html or .png.")
    if seed < 0:
        raise TrainingError(f"--seed {seed}: give 0 or a larger whole number.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--out {out}: its folder cannot be made ({error.strerror}); name another.") from error
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise TrainingError(f"--out {out} cannot be written there; name another file.")


def draw(
    x: Floats, y: Floats, batches: list[Batch], descents: dict[str, list[Line]], numbers: Sequence[int]
) -> Iterator[Image.Image]:
    """One picture after each of the steps in `numbers`; 0 is the start."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), dpi=100, facecolor=PAPER)
    canvas: Any = FigureCanvasAgg(figure)
    grid = figure.subplots(2, 3, sharey="row", height_ratios=(1.6, 1))
    figure.subplots_adjust(left=0.065, right=0.985, top=0.8, bottom=0.09, wspace=0.06, hspace=0.25)
    figure.text(0.065, 0.93, "y = ax + b by mini-batch SGD", color=INK, size=17, weight="bold")
    counter = figure.text(0.985, 0.93, "", color=SOFT, size=13, ha="right", animated=True)
    columns = zip(descents.items(), grid.T, strict=True)
    panels = [Panel(above, below, name, lines, x, y) for (name, lines), (above, below) in columns]
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)  # all but what moves, drawn once: five times as fast
    for number in numbers:
        canvas.restore_region(still)
        counter.set_text(f"step {number} of {len(batches)}")
        figure.draw_artist(counter)
        for panel in panels:
            panel.show(number, batches[number - 1] if number else batches[0][:0])
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


class Panel:
    """One rate: above the points and the line, below the loss of every step so far. What leaves the view is cut off."""

    def __init__(self, above: Axes, below: Axes, name: str, lines: list[Line], x: Floats, y: Floats) -> None:
        self.above, self.below, self.lines, self.x, self.y = above, below, lines, x, y
        self.losses = [mean_squared_error(line, x, y) for line in lines]
        colour = COLOURS[name]
        self._frame(name, colour)
        above.scatter(x, y, s=14, color=SOFT, alpha=0.4, linewidths=0)
        below.axhline(lowest_loss(x, y), color=SOFT, lw=1, ls=":")
        moving: dict[str, Any] = {"color": colour, "animated": True}
        fading = [0.1, 0.18, 0.28, 0.4]  # the lines of the last steps
        self.drawn = [above.plot([], [], alpha=alpha, lw=1.5, **moving)[0] for alpha in fading]
        self.drawn += above.plot([], [], lw=3, **moving)
        (self.batch,) = above.plot([], [], "o", markersize=6, markeredgecolor="white", **moving)
        (self.curve,) = below.plot([], [], lw=2.5, **moving)
        self.state = above.text(0, 1.03, "", transform=above.transAxes, size=10.5, **{**moving, "color": INK})
        moving |= {"transform": below.transAxes, "ha": "right"}
        self.verdict = below.text(0.97, 0.84, "", weight="bold", **moving)
        self.loss = below.text(0.97, 0.05, "", size=10.5, **{**moving, "color": INK})

    def _frame(self, name: str, colour: str) -> None:
        """What stands still: titles, axes, a word on the dotted line."""
        self.above.set(xlim=(-1.1, 1.1), ylim=LINE_VIEW, xticks=(-1, 0, 1), xlabel="x")
        self.below.set(xlim=(0, 60), ylim=LOSS_VIEW, yscale="log", xticks=(0, 20, 40), xlabel="step")
        if name == next(iter(RATES)):
            self.above.set_ylabel("y", color=SOFT)
            self.below.set_ylabel("loss (log scale)", color=SOFT)
            self.below.text(2, 0.06, "dotted: the best line there is", color=SOFT, size=9)
        for axes in (self.above, self.below):
            axes.set_facecolor("white")
            axes.tick_params(colors=SOFT, length=0)
            axes.spines[:].set_color(GRID)
            axes.xaxis.label.set_color(SOFT)
        self.above.set_title(f"{name}: rate {RATES[name]}", color=colour, size=14, weight="bold", loc="left", pad=24)

    def show(self, number: int, batch: Batch) -> None:
        """Draw step `number`, which looked at the points `batch`."""
        ends = np.array([-1.1, 1.1])
        for back, drawn in enumerate(reversed(self.drawn)):
            line = self.lines[max(number - back, 0)]
            drawn.set_data(ends, line.a * ends + line.b)
        self.batch.set_data(self.x[batch], self.y[batch])
        loss = self.losses[number]
        self.curve.set_data(range(number + 1), self.losses[: number + 1])
        self.state.set_text(str(self.lines[number]))
        self.loss.set_text(f"loss {loss:.3g}")
        beyond = ", off the scale" if loss > LOSS_VIEW[1] else ""
        self.verdict.set_text(verdict(loss, self.x, self.y) + beyond)
        for artist in (*self.drawn, self.batch, self.state):
            self.above.draw_artist(artist)
        for artist in (self.curve, self.verdict, self.loss):
            self.below.draw_artist(artist)


def encode(frames: list[Image.Image], suffix: str) -> bytes:
    """The file's bytes. All pictures of a GIF share 64 colours, so that what stands still costs nothing."""
    content = BytesIO()
    if suffix == ".html":
        addresses = ["data:image/png;base64," + base64.b64encode(encode([frame], ".png")).decode() for frame in frames]
        page = HTML.replace("FRAMES", json.dumps(addresses)).replace("DURATIONS", json.dumps(DURATIONS))
        return page.encode()
    if suffix == ".png":
        frames[-1].quantize(64).save(content, "PNG", optimize=True)
        return content.getvalue()
    early, late = frames[len(frames) // 10], frames[-1]
    palette = Image.fromarray(np.hstack([np.asarray(early), np.asarray(late)])).quantize(64)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(content, "GIF", save_all=True, append_images=small[1:], duration=DURATIONS, loop=0)
    return content.getvalue()
