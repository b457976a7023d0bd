"""Files of photo URLs: one a line, or a CSV with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.addresses import parse_url
from app.errors import Refusal
from training.errors import TrainingError
from training.folders import check_class

DELIMITERS = ",;\t"  # spreadsheets in half of Europe write semicolons


@dataclass(frozen=True)
class Listed:
    """One URL to download, as it will be asked for, and the class its photo belongs to."""

    url: str
    label: str


@dataclass(frozen=True)
class UrlList:
    """The different URLs of each class in a file, in its order; `problems` has a sentence for each line without one."""

    listed: tuple[Listed, ...]
    problems: tuple[str, ...]


def read(path: Path, label: str | None) -> UrlList:
    """Read a file of URLs; those whose line names no class are of class `label`.

    Blank lines and lines that begin with # are left out. Raises TrainingError: not UTF-8, no URL, no class, a name no
    class may have; OSError.
    """
    if label is not None:
        check_class(label, "--class")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is no text in UTF-8; save it as such.") from error
    listed: dict[Listed, None] = {}
    problems = []
    for number, url, named in _rows(text, path):
        if not (own := named or label):
            raise TrainingError(f"{path}, line {number} names no class: give --class, or fill the CSV's column class.")
        check_class(own, f"{path}, line {number}")
        try:
            listed[Listed(str(parse_url(url)), own)] = None
        except Refusal as refusal:
            problems.append(f"{path}, line {number}: {refusal.message}")
    if not listed:
        raise TrainingError(f"{path} holds no URL; give one a line, or a CSV in UTF-8 whose header has a column url.")
    return UrlList(tuple(listed), tuple(problems))


def _rows(text: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, URL and class ("" where none is named) of each line that says anything."""
    lines = text.splitlines()
    header = next(filter(_says, lines), "")
    delimiter = next((sign for sign in DELIMITERS if sign in header), ",")
    columns = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    if "url" in columns:
        yield from _csv_rows(text, columns, delimiter, path)
    else:
        yield from ((number, line.strip(), "") for number, line in enumerate(lines, 1) if _says(line))


def _csv_rows(text: str, columns: list[str], delimiter: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """The same of each row below the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = (cells for cells in reader if cells and _says("".join(cells)))
        next(rows)
        for cells in rows:
            if len(cells) > len(columns):  # or the rest of a URL would be cut off in silence
                raise TrainingError(
                    f"{path}, line {reader.line_num} has more cells than the header; put a URL that holds a "
                    f"{delimiter!r} in double quotes."
                )
            row = dict(zip(columns, cells, strict=False))
            yield reader.line_num, row.get("url", "").strip(), row.get("class", "").strip()
    except csv.Error as error:
        raise TrainingError(f"{path}, line {reader.line_num} cannot be read as CSV: {error}.") from error


def _says(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")
