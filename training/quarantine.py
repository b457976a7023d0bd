"""Moves of photos that can be undone: bad ones to quarantine, wrongly labelled ones to another class.

`WORK/moves.csv` is the journal of both. Rows are written before the files move, so a row whose move never came about
only says where the file still stands. Nothing is deleted, rewritten or overwritten.
"""

from __future__ import annotations

import csv
import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from training.errors import TrainingError
from training.files import working_in, write_rows
from training.folders import class_folders

JOURNAL = "moves.csv"
FOLDER = "quarantine"
COLUMNS = ("from", "to", "reason", "when")


@dataclass(frozen=True)
class Move:
    """One row of the journal: `source` is relative to DATA, `target` too unless WORK is elsewhere, `when` is UTC."""

    source: str
    target: str
    reason: str
    when: str


def quarantine(data: Path, work: Path, reasons: Mapping[str, str]) -> list[Move]:
    """Move DATA/file to WORK/quarantine/file, for each file and its reason; returns the moves.

    Raises TrainingError, before anything moves, if a file does not stand in a class folder of DATA.
    """
    check_work(data, work)
    wanted = {file: (_absolute(work) / FOLDER / file, reason) for file, reason in reasons.items()}
    return _move_all(data, work, wanted)


def relabel(data: Path, work: Path, labels: Mapping[str, str]) -> list[Move]:
    """Move DATA/file to the folder of its new class, on the same side where DATA has train/ and val/.

    A file that has that class already stays. Raises TrainingError as `quarantine` does, and for a class not in DATA.
    """
    check_work(data, work)
    classes = sorted({folder.name for folder, _ in class_folders(data)})
    wanted = {}
    for file, label in labels.items():
        if label not in classes:
            raise TrainingError(f"There is no class {label!r} in {data}; its classes are {', '.join(classes)}.")
        source = _absolute(data) / file
        if source.parent.name != label:
            wanted[file] = (source.parent.parent / label / source.name, f"relabelled as {label}")
    return _move_all(data, work, wanted)


def undo(data: Path, work: Path) -> list[str]:
    """Move every file of the journal back, newest first; returns those that came back, as DATA knows them.

    A file stays in the journal if it is gone from where it was put, or if another one has taken its old place.
    """
    back: list[str] = []
    left: list[Move] = []
    if not (work / JOURNAL).exists():
        return back
    with working_in(work):
        moves = read_moves(work)
        try:
            while moves:
                if _put_back(data, work, moves[-1]):
                    back.append(moves[-1].source)
                elif not os.path.lexists(data / moves[-1].source) or os.path.lexists(data / moves[-1].target):
                    left.append(moves[-1])
                moves.pop()
        finally:  # what is known so far, also after Ctrl-C or a full disk
            _write(work, moves + left[::-1])
    return back


def read_moves(work: Path) -> list[Move]:
    """The journal, oldest first; empty if there is none. Raises TrainingError if the file is none."""
    path = work / JOURNAL
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            return [Move(*(row[name] for name in COLUMNS)) for row in csv.DictReader(file)]
    except (KeyError, csv.Error) as error:
        raise TrainingError(
            f"{path} is not a journal of moves ({', '.join(COLUMNS)}); put it right by hand."
        ) from error


def check_work(data: Path, work: Path) -> None:
    """Refuse a working folder that would be taken for a class: inside DATA its name must start with _ or a dot."""
    place, root = _absolute(work), _absolute(data)
    if place == root or (place.is_relative_to(root) and place.relative_to(root).parts[0][0] not in "._"):
        raise TrainingError(f"--work {work} would be taken for photos of {data}; choose a folder outside of it.")


def _move(source: Path, target: Path) -> None:
    """Rename, or copy to another filesystem and then remove; links move as links. Raises OSError.

    Where `target` holds the copy that a cut-off move between filesystems left, that move is finished.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        if not _equal(source, target):
            raise FileExistsError(errno.EEXIST, "another file stands there", str(target))
        source.unlink()
        return
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_then_remove(source, target)


def copy_then_remove(source: Path, target: Path) -> None:
    """Copy with its times, durably, under a temporary name; only then is the source removed."""
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    shutil.copy2(source, temporary, follow_symlinks=False)
    if not temporary.is_symlink():
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    temporary.rename(target)
    source.unlink()


def _move_all(data: Path, work: Path, wanted: Mapping[str, tuple[Path, str]]) -> list[Move]:
    """Plan, journal, move: file → (where to, why)."""
    if not wanted:
        return []
    with working_in(work):
        journal = read_moves(work)
        moves = _plan(data, journal, wanted)
        _write(work, journal + moves)
        for number, planned in enumerate(moves):
            try:
                _move(data / planned.source, data / planned.target)
            except OSError as error:
                raise TrainingError(
                    f"{planned.source} in {data} cannot be moved to {data / planned.target} ({error.strerror}); "
                    f"{number} of {len(moves)} files were moved. Is that folder read-only?"
                ) from error
    return moves


def _plan(data: Path, journal: Iterable[Move], wanted: Mapping[str, tuple[Path, str]]) -> list[Move]:
    """The moves that are left to make; a file that `journal` has moved already, and that is gone here, is not."""
    arrived = {done.source: data / done.target for done in journal if os.path.lexists(data / done.target)}
    here = {file for file in wanted if file not in arrived or os.path.lexists(data / file)}
    check_sources(data, here)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    taken: set[Path] = set()
    moves = []
    for file, (place, reason) in wanted.items():
        if file in here:
            cut_off = file in arrived and _equal(data / file, arrived[file])
            target = arrived[file] if cut_off else _free(place, taken)
            taken.add(target)
            moves.append(Move(file, _named(target, data), reason, when))
    return moves


def check_sources(data: Path, files: Iterable[str]) -> None:
    """Refuse files that do not stand in a class folder of DATA, which may not lead out of it through a link."""
    folders = {folder for folder, _ in class_folders(data)}
    for file in files:
        path = data / file
        if path.parent not in folders or not _inside(path, data):
            raise TrainingError(f"{file} is not in a class folder of {data}, so it is not moved.")
        if not (path.is_file() or path.is_symlink()):
            raise TrainingError(f"There is no file {file} in {data} any more.")


def _put_back(data: Path, work: Path, done: Move) -> bool:
    """Whether the file is back where it came from, by a move made now."""
    source, target = data / done.source, data / done.target
    if not _inside(source, data) or not _inside(target, data, work / FOLDER):
        raise TrainingError(f"{work / JOURNAL} names {done.source}, {done.target}, which is outside of {data}.")
    if not os.path.lexists(target) or (os.path.lexists(source) and not _equal(target, source)):
        return False
    _move(target, source)
    return True


def _free(place: Path, taken: set[Path]) -> Path:
    """`place`, or the first of name-2, name-3 … that is free."""
    names = chain([place], (place.with_name(f"{place.stem}-{number}{place.suffix}") for number in count(2)))
    return next(name for name in names if name not in taken and not os.path.lexists(name))


def _equal(left: Path, right: Path) -> bool:
    """Whether both are the same link, or plain files of the same bytes."""
    if left.is_symlink() or right.is_symlink():
        return left.is_symlink() and right.is_symlink() and left.readlink() == right.readlink()
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


def _write(work: Path, moves: Iterable[Move]) -> None:
    write_rows(work / JOURNAL, COLUMNS, map(astuple, moves))


def _named(target: Path, data: Path) -> str:
    root = _absolute(data)
    return target.relative_to(root).as_posix() if target.is_relative_to(root) else str(target)


def _inside(path: Path, *roots: Path) -> bool:
    """Whether the file's folder, all links followed, is one of the roots or below it."""
    folder = path.parent.resolve()
    return path.name != ".." and any(folder.is_relative_to(root.resolve()) for root in roots)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links, absolute would keep "..")
