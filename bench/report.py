"""Results as Markdown tables on stdout, and as plots beside the file: `python -m bench.report docs/bench.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import plots
from bench.tables import TABLES, Row, cell


def main() -> None:
    """Print every table whose figures are there, and draw the plots."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Show results of the benchmarks.")
    parser.add_argument("results", type=Path, help="what python -m bench and its like wrote")
    args = parser.parse_args()
    try:
        found = json.loads(args.results.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"{args.results} holds no results: {error}")
    print("\n".join(markdown(found)))
    if "served" in found:
        plots.draw(found["served"], args.results.parent)


def markdown(found: dict[str, Any]) -> Iterator[str]:
    """The lines of all tables."""
    before = ""
    for name, tables in TABLES.items():
        if name in found:
            where = machine(found["measured"][name])
            yield from [] if where == before else [f"\n{where}"]
            before = where
            for title, header, rows in tables(found[name]):
                yield f"\n### {title}\n"
                yield from table(header, rows)


def machine(found: dict[str, Any]) -> str:
    """One sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    system = f"Linux {found['kernel']}, Python {found['python']}"
    return f"{found['date']}, {found['cores']} cores of {found['cpu']}, {system}, {versions}."


def table(header: Row, rows: Sequence[Row]) -> Iterator[str]:
    """A Markdown table; all columns but the first to the right."""
    yield line(header)
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    yield from map(line, rows)


def line(cells: Row) -> str:
    """One row."""
    return "| " + " | ".join(map(cell, cells)) + " |"


if __name__ == "__main__":
    main()
