"""What the tables of the report hold: a title, a header and rows for each part of the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.replica import BALANCERS

Row = Sequence[object]
Table = tuple[str, Row, Sequence[Row]]
AGAINST = ("8", "32")  # clients, at which services are compared


def cell(value: object) -> str:
    """A figure with three digits, or as many as it has before the point; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def served(found: dict[str, Any]) -> Iterator[Table]:
    """Of every service: closed loops, open loops, health checks, start and memory; then ours against the others."""
    first = next(iter(found.values()))
    clients, shares = list(first["closed"]), list(first["open"])
    by_clients = [words for n in clients for words in (f"{n}: per s", "p50 / p99")]
    yield (
        "Photos per second and latency (p50 / p99, ms) by number of clients",
        ["", *by_clients, "not answered"],
        [[name, *rates(each["closed"]), failed(each)] for name, each in found.items()],
    )
    yield (
        "Latency (p50 / p99, ms) by load, in percent of each service's own peak",
        ["", "peak, per s", *shares, "p99 at 80 % ÷ p50 of one client", "evenly (bar 3)"],
        [[name, each["peak_rate"], *map(both, each["open"].values()), *calm(each)] for name, each in found.items()],
    )
    yield (
        "Health checks beside that load (p99 / longest, ms; bar 20)",
        ["", *(f"clients: {n}" for n in clients), *shares],
        [[name, *map(health, (each["closed"] | each["open"]).values())] for name, each in found.items()],
    )
    keys = ("ready_s", "first_answer_s", "idle_mb", "loaded_mb")
    yield (
        "Start, memory and CPU",
        ["", "ready, s", "first answer, s", "idle, MB", "after the load, MB", "CPU per photo, 8 clients, ms"],
        [[name, *(each[key] for key in keys), each["closed"]["8"]["cpu_ms"]] for name, each in found.items()],
    )
    ours, *others = found
    yield (
        f"{ours}, in times of",
        ["", *(f"{n} clients: {what}" for n in AGAINST for what in ("rate", "p99"))],
        [[name, *times(found[ours]["closed"], found[name]["closed"])] for name in others],
    )


def rates(closed: dict[str, Any]) -> list[object]:
    return [value for bout in closed.values() for value in (bout["rate"], both(bout))]


def times(ours: dict[str, Any], other: dict[str, Any]) -> list[float | None]:
    """Our rate and p99 over the other's, at each number of clients of AGAINST."""
    return [ratio(ours[n][key], other[n][key]) for n in AGAINST for key in ("rate", "p99_ms")]


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def both(bout: dict[str, Any]) -> str:
    return f"{cell(bout['p50_ms'])} / {cell(bout['p99_ms'])}"


def health(bout: dict[str, Any]) -> str:
    return f"{cell(bout['health_ms']['p99'])} / {cell(bout['health_ms']['max'])}"


def failed(each: dict[str, Any]) -> int:
    return int(sum(bout["failed"] for bout in (each["closed"] | each["open"]).values()))


def calm(each: dict[str, Any]) -> list[float | None]:
    """p99 at 80 % of the peak over the median of one client, with arrivals at random and evenly spaced."""
    return [ratio(each["open"][key]["p99_ms"], each["closed"]["1"]["p50_ms"]) for key in ("80 %", "80 %, evenly")]


def engine(found: dict[str, Any]) -> Iterator[Table]:
    header = ["", "threads", "ms", "CPU, ms", "photos per second"]
    rows = [
        [precision, int(threads), each["wall_ms"], each["cpu_ms"], each["rate"]]
        for precision, by_threads in found.items()
        for threads, each in by_threads.items()
    ]
    yield "The engine alone", header, rows


def decode_ms(found: dict[str, float]) -> Iterator[Table]:
    sizes = list(dict.fromkeys(name.rpartition(" ")[0] for name in found))
    kinds = list(dict.fromkeys(name.rpartition(" ")[2] for name in found))
    rows = [[size, *(found[f"{size} {kind}"] for kind in kinds)] for size in sizes]
    yield "Decoding and scaling, ms", ["", *kinds], rows


def limit(found: dict[str, Any]) -> Iterator[Table]:
    title = "The limit: cores ÷ CPU of one request, in its parts (ms), and what is served to 8 clients"
    header = ["", "engine", "decode", "HTTP", "load generator", "limit, per s", "served, per s", "share (bar 0.9)"]
    yield title, header, [[name, *each.values()] for name, each in found.items()]


def plans(found: dict[str, Any]) -> Iterator[Table]:
    for cores, each in found.items():
        header = ["streams", "threads per stream", "workers", "photos per second", "of the best"]
        best = max(each["rates"].values())
        rows = [[*shape.split(), speed, speed / best] for shape, speed in each["rates"].items()]
        yield (
            f"Plans on {cores} of the cores; the rule's share of the best (bar 0.9): {cell(each['share'])}",
            header,
            rows,
        )


def overload(found: dict[str, Any]) -> Iterator[Table]:
    floods = {key: each for key, each in found.items() if key.endswith("x")}
    title = (
        f"Overload: open loop, {found['how']['seconds']:g} s, in times of the peak of {cell(found['peak']['rate'])}/s"
    )
    header = ["", *(f"{key[:-1]} ×" for key in floods), "bar"]
    yield title, header, [[words, *(each[key] for each in floods.values()), bar] for key, words, bar in FLOOD]
    yield "A burst", ["", "", "bar"], [[words, found["burst"][key], bar] for key, words, bar in BURST]


def soak(found: dict[str, Any]) -> Iterator[Table]:
    wrong = sum(count for status, count in found["answers"].items() if status != "as expected")
    rows: list[Row] = [
        ["answers other than they must be", wrong, 0],
        *([words, found[key], bar] for key, words, bar in SOAK),
    ]
    title = f"{found['requests']:,} requests in {found['seconds'] / 60:g} minutes, {found['hostile']:,} of them hostile"
    yield title, ["", "", "bar"], rows


def start(found: dict[str, Any]) -> Iterator[Table]:
    yield "From a fresh clone", ["", "", "bar"], [[words, found[key], bar] for key, words, bar in START]


def outside(found: dict[str, Any]) -> Iterator[Table]:
    header = ["", "photos", "“none of these”", "“not sure”", *(f"{name}: caught / AUROC" for name in SCORES)]
    rows = [
        [name, each["photos"], each["outside"], each["unsure"], *(ood(each, score) for score in SCORES)]
        for name, each in found["sets"].items()
    ]
    yield "Photos that are none of the classes; caught at 5 % of the classes’ own", header, rows
    bar = "≤ 0.5"
    yield "What notes, likeness and verdict take", ["", "", "bar"], [["CPU per photo, ms", found["added_cpu_ms"], bar]]


def ood(each: dict[str, Any], score: str) -> str:
    return f"{100 * each['caught'][score]:.0f} % / {each['auroc'][score]:.3f}"


def page(found: dict[str, float]) -> Iterator[Table]:
    yield "The page in Chromium", ["", "", "bar"], [[words, found[key], bar] for key, words, bar in PAGE]


def sizing(found: dict[str, Any]) -> Iterator[Table]:
    """One replica as measured, its simulation beside open loops, the plan."""
    header = ["clients", "per s", *(f"{step}, ms" for step in SIZING_STEPS), "speed of each"]
    rows: list[Row] = [
        [clients, each["rate"], *(each[f"{step}_ms"] for step in SIZING_STEPS), speed]
        for (clients, each), speed in zip(found["loops"].items(), found["speeds"].values(), strict=True)
    ]
    yield f"One replica: {found['cores']} cores, {found['workers']} workers, {found['places']} places", header, rows
    header = ["of the peak", "per s", *(f"{which}: {what}" for which in ("measured", "simulated") for what in OUTCOME)]
    rows = [
        [share, each["rate"], *outcome(each["measured"]), *outcome(each["simulated"]), each["ratio"]]
        for share, each in found["held"].items()
    ]
    yield "Its simulation, with the same arrivals", [*header, "p99: simulated ÷ measured (bar 0.8 to 1.2)"], rows
    yield planned(found["plan"], found["cores"])


def planned(plan: dict[str, Any], cores: int) -> Table:
    """Replicas for some rates, and how they fare, with all of them and with one gone."""
    title = (
        f"The plan: p99 within {plan['p99_ms']:g} ms, so up to {100 * plan['share']:.0f} % of the peak, "
        f"{plan['rate']:.0f} a second and replica, {plan['rate'] / cores:.0f} a second and core; and one replica more"
    )
    header = [
        "requests per s",
        "replicas",
        "of the peak",
        *(f"{name}: {what}" for name in BALANCERS for what in OUTCOME),
    ]
    rows = [
        [f"{int(rate):,}", f"{state['replicas']:,}{gone}", percent(state["share"])]
        + [value for name in BALANCERS for value in outcome(state[name])]
        for rate, states in plan["rates"].items()
        for state, gone in ((states["all"], ""), (states["one gone"], ", one gone"))
    ]
    return title, header, rows


def outcome(figures: dict[str, float]) -> list[str]:
    return [both(figures), percent(figures["refused"])]


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


TABLES = {
    "served": served,
    "limit": limit,
    "engine": engine,
    "decode_ms": decode_ms,
    "plans": plans,
    "overload": overload,
    "soak": soak,
    "start": start,
    "outside": outside,
    "page": page,
    "sizing": sizing,
}
PAGE = (
    ("first_paint_ms", "first paint, CPU slowed four times, ms", "≤ 500"),
    ("large_s", "12 megapixels: from given to answered, s", "≤ 1.0"),
    ("many_s", "200 photos of 2 megapixels, s", "≤ 60"),
    ("long_task_ms", "meanwhile the longest task, ms", "≤ 200"),
)
SIZING_STEPS = ("wait", "decode", "infer", "overhead")
OUTCOME = ("p50 / p99, ms", "refused")
SCORES = ("similarity", "confidence", "both")
FLOOD = (
    ("offered", "offered", ""),
    ("rate", "answered, per s", ""),
    ("share_of_peak", "÷ peak", "0.9; at 10 × 0.75, or:"),
    ("share_of_possible", "÷ what fits beside refusals and load generator", "0.9"),
    ("p99_ms", "p99 of the answered, ms", ""),
    ("p99_times_peak", "÷ its value at peak", "≤ 3"),
    ("refused", "refused", ""),
    ("refusal_p50_ms", "refusals: p50, ms", ""),
    ("refusal_p99_ms", "refusals: p99, ms", "≤ 50"),
    ("without_retry_after", "refusals without Retry-After", "0"),
    ("other_errors", "other errors", "0"),
    ("not_sent", "not sent, for want of connections", "0"),
    ("health_p99_ms", "health checks: p99, ms", "≤ 20"),
    ("normal_after_s", "as before after, s", "< 2"),
)
BURST = (
    ("clients", "clients at once", ""),
    ("refused", "refused at first", ""),
    ("longest_retry_after_s", "longest Retry-After, s", ""),
    ("in_at_first_retry", "of those, answered at the first retry", "≥ 0.9"),
    ("without_retry_after", "refusals without Retry-After", "0"),
    ("other_errors", "other errors", "0"),
    ("health_max_ms", "health checks: longest, ms", ""),
)
SOAK = (
    ("loaded_mb_grown", "memory under load grown by, MB", "≤ 10"),
    ("descriptors_grown", "descriptors grown by", "0"),
    ("threads_grown", "threads grown by", "0"),
    ("health_p99_ms", "probes beside it: p99, ms", "≤ 20"),
    ("health_max_ms", "probes beside it: longest, ms", ""),
)
START = (
    ("fresh_clone_s", "fresh clone to ready, installs included, s", "≤ 90"),
    ("again_s", "again to ready, s", "≤ 2"),
    ("memory_mb", "memory when ready, MB", "≤ 250"),
    ("installed_mb", "installed environment, without uv and pip, MB", "≤ 450"),
)
