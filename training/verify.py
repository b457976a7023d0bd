"""The verify command: looks at every photo of DATA, puts aside what cannot be read, and names what looks doubtful."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from app.cpu import usable_cores
from app.errors import Refusal
from app.image import Photo, fit, read_photo
from training.errors import TrainingError
from training.files import write_rows
from training.folders import class_folders
from training.progress import advancer, bars
from training.quarantine import FOLDER, check_work, quarantine, read_moves, undo
from training.similar import fingerprint, groups

COLUMNS = ("file", "class", "finding", "detail", "other")
SHOWN = 5  # of each finding; all are in verify.csv

# Limits chosen by looking at 899 photos (bears, teddies, ants, bees); each flags at most 4 of any set of about 400.
SHORT = 256  # pixels of the short side at which sharpness is measured, so that large photos compare with small
TINY = 112  # pixels of the short side: half of the 224 that the network sees, so over twice enlarged
ODD = 2.5  # long side : short side: the centre square that the network sees shows less than 40 % of the photo
DARK = 30.0  # mean grey of 255; photos at dusk had 45 and more
PLAIN = 8.0  # standard deviation of grey; the dullest real photo had 16.7, a placeholder saying "Image" 4.0
BLURRY = 40.0  # variance of the Laplacian; sharp photos had 46 and more, blurred by 2 pixels of 256 about 7

# finding → what a person should know, and do
MEANINGS = {
    "bad": "cannot be read as a photo.",
    "closed": "could not be opened, so nothing is known of it. Make it readable, then verify again.",
    "label conflict": "the same photo, or nearly, in two classes. Keep it in the right one; move the other away.",
    "exact duplicate": "the very same file twice. `split` keeps both on one side, unless you chose the sides.",
    "near duplicate": "nearly the same photo twice. `split` keeps both on one side, unless you chose the sides.",
    "plain": "nearly one colour all over, as a placeholder for a missing photo is.",
    "tiny": f"shorter side under {TINY} pixels, so there is little to see.",
    "blurry": "no sharp edge anywhere.",
    "dark": "very dark; fine if you can tell what it shows.",
    "odd shape": "very long or very tall; the network sees only the middle.",
}


@dataclass(frozen=True)
class Finding:
    """One row of verify.csv; `kind` is a key of MEANINGS, `other` the file it resembles, if any."""

    file: str
    label: str
    kind: str
    detail: str
    other: str = ""


@dataclass(frozen=True)
class Look:
    """What one look at a file gave: its content's hash, its fingerprint, and (kind, detail) of what is doubtful."""

    sha256: str = ""
    fingerprint: int | None = None
    doubts: tuple[tuple[str, str], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training verify`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    work_help = "where verify.csv and quarantine/ are kept (default: DATA/_tellapart)"
    parser.add_argument("--work", metavar="DIR", type=Path, help=work_help)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="only look and report: move no file")
    either.add_argument("--undo", action="store_true", help="move back what verify and clean have moved")


def run(args: argparse.Namespace) -> int:
    """Verify or undo, and say what came of it; 1 if a file could not be opened or not be moved back."""
    work = args.work or args.data / "_tellapart"
    if not args.data.is_dir():
        raise TrainingError(f"There is no folder {args.data}.")
    check_work(args.data, work)
    command = ["python", "-m", "training", "COMMAND", str(args.data), *(["--work", str(work)] if args.work else [])]
    if args.undo:
        return _undo(args.data, work)
    files = files_of(args.data)
    with bars() as progress:
        looks = look_at(args.data, list(files), advancer(progress, "photos", len(files)))
    findings = find(files, looks)
    _write(work, findings)
    bad = {finding.file: finding.detail for finding in findings if finding.kind == "bad"}
    check_share(bad, len(files), work)
    if not args.dry_run:
        quarantine(args.data, work, bad)
    for line in report(files, findings, work, command, moved=not args.dry_run):
        print(line)  # noqa: T201
    return 1 if any(finding.kind == "closed" for finding in findings) else 0


def files_of(data: Path) -> dict[str, str]:
    """Every file in a class folder of DATA but hidden ones → its class, in order. Raises TrainingError if none."""
    found = {
        path.relative_to(data).as_posix(): folder.name
        for folder, _ in class_folders(data)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and (path.is_file() or not path.exists())  # or a link to nowhere
    }
    if not found:
        raise TrainingError(f"{data} holds no photos; put those of each class into a folder of its own, {data}/CLASS/.")
    return found


def look_at(data: Path, files: Sequence[str], advance: Callable[[], None]) -> list[Look]:
    """A look at each file, on as many cores as may be used; `advance` is called after each."""
    found = []
    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        warnings.filterwarnings(
            "ignore", category=UserWarning, module="PIL"
        )  # oddities of files that it reads all the same
        for look in pool.map(lambda file: _look(data / file), files):
            found.append(look)
            advance()
    return found


def _look(path: Path) -> Look:
    try:
        content = path.read_bytes()
    except OSError as error:
        return Look(doubts=(("closed", f"{error.strerror}."),))
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        photo = read_photo(content, enough=SHORT)
        return Look(sha256, fingerprint(photo), tuple(doubts(photo)))
    except Refusal as refusal:
        return Look(sha256, doubts=(("bad", refusal.message),))


def doubts(photo: Photo) -> Iterator[tuple[str, str]]:
    """What is doubtful about the photo by itself: (kind, a few words with the measured value)."""
    short, long = sorted((photo.width, photo.height))
    grey = np.asarray(fit(photo, min(short, SHORT)).convert("L"), dtype=np.float32)
    if short < TINY:
        yield "tiny", f"{photo.width} × {photo.height} pixels"
    if long > ODD * short:
        yield "odd shape", f"{photo.width} × {photo.height} pixels"
    if grey.mean() < DARK:
        yield "dark", f"mean brightness {grey.mean():.0f} of 255"
    if grey.std() < PLAIN:
        yield "plain", f"brightness varies by {grey.std():.1f} of 255"
    elif min(grey.shape) > 2 and sharpness(grey) < BLURRY:
        yield "blurry", f"sharpness {sharpness(grey):.0f}; most photos have over {BLURRY:.0f}"


def sharpness(grey: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000) of a picture, low where all is blurred."""
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def find(files: dict[str, str], looks: Sequence[Look]) -> list[Finding]:
    """All findings, in the order of MEANINGS, then by file."""
    found = [
        Finding(file, label, *doubt) for (file, label), look in zip(files.items(), looks, strict=True)
        for doubt in look.doubts
    ]  # fmt: skip
    found += _alike(files, looks)
    kinds = list(MEANINGS)
    return sorted(found, key=lambda finding: (kinds.index(finding.kind), finding.file))


def _alike(files: dict[str, str], looks: Sequence[Look]) -> Iterator[Finding]:
    """Each photo that resembles an earlier one, with the one that it resembles most."""
    photos = [(*file, look) for file, look in zip(files.items(), looks, strict=True) if look.fingerprint is not None]
    for group in groups([look.fingerprint for *_, look in photos if look.fingerprint is not None]):
        # by class and content, so that a thousand equal files cost no more than two
        earlier: dict[tuple[str, str], int] = {}
        for index in group:
            file, label, look = photos[index]
            if earlier:
                *_, nearest = min((_bits(look, photos[at][2]), label != photos[at][1], at) for at in earlier.values())
                yield _pair(file, label, look, *photos[nearest])
            earlier.setdefault((label, look.sha256), index)


def _bits(left: Look, right: Look) -> int:
    """In how many bits two photos' fingerprints differ; -1 if they are the same file."""
    if left.sha256 == right.sha256 or left.fingerprint is None or right.fingerprint is None:
        return -1
    return (left.fingerprint ^ right.fingerprint).bit_count()


def _pair(file: str, label: str, look: Look, other: str, other_label: str, other_look: Look) -> Finding:
    bits = _bits(look, other_look)
    alike = "the same file" if bits < 0 else f"nearly the same photo ({bits} of 64 bits differ)"
    if label != other_label:
        return Finding(file, label, "label conflict", f"{label} and {other_label}: {alike}", other)
    return Finding(file, label, "exact duplicate" if bits < 0 else "near duplicate", alike, other)


def check_share(bad: dict[str, str], total: int, work: Path) -> None:
    """Refuse to move over half of all files: then DATA, or what it holds, is not what it seems."""
    if 2 * len(bad) > total:
        file, reason = next(iter(bad.items()))
        raise TrainingError(
            f"{len(bad)} of {total} files cannot be read as photos, such as {shown(file)} ({reason.rstrip('.')}). "
            f"That is over half, so none was moved: is this the right folder? {work / 'verify.csv'} names them all."
        )


def report(
    files: dict[str, str], findings: Sequence[Finding], work: Path, command: Sequence[str], *, moved: bool
) -> Iterator[str]:
    """The summary for a person, line by line; `command` is a shell command with COMMAND for the name of one."""
    counts = Counter(files.values())
    classes = ", ".join(f"{shown(label)} {number}" for label, number in counts.items())
    yield f"Looked at {_number(len(files), 'file')} in {_number(len(counts), 'class', 'es')}: {classes}."
    for kind, meaning in MEANINGS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        if not of_kind:
            continue
        yield f"\n{kind.capitalize()} ({len(of_kind)}): {meaning}"
        yield from (f"  {_in_words(finding)}" for finding in of_kind[:SHOWN])
        if len(of_kind) > SHOWN:
            yield f"  … and {len(of_kind) - SHOWN} more"
        if kind == "bad" and not moved:
            yield "Nothing was moved; without --dry-run these go to quarantine."
    yield ""
    aside = len(read_moves(work))
    if aside:
        yield f"{_number(aside, 'file')} moved so far, to {work / FOLDER} or another class; none is deleted or changed."
        yield f"To move them back: {_shell(command, 'verify')} --undo"
    yield f"All {_number(len(findings), 'finding')}: {work / 'verify.csv'}" if findings else "Nothing is doubtful."
    yield f"Next: {_shell(command, 'split')}"


def shown(name: str) -> str:
    """A file name that can be printed: bytes that are not UTF-8 and control characters become �."""
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _in_words(finding: Finding) -> str:
    both = f" and {shown(finding.other)}" if finding.other else ""
    return f"{shown(finding.file)}{both}: {shown(finding.detail)}"


def _number(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def _write(work: Path, findings: Sequence[Finding]) -> None:
    try:
        write_rows(work / "verify.csv", COLUMNS, map(astuple, findings))
    except OSError as error:
        raise TrainingError(
            f"{work} cannot be written to ({error.strerror}); name another folder: --work DIR."
        ) from error


def _shell(command: Sequence[str], name: str) -> str:
    return shown(shlex.join(name if word == "COMMAND" else word for word in command))


def _undo(data: Path, work: Path) -> int:
    back = undo(data, work)
    left = read_moves(work)
    print(f"{_number(len(back), 'file')} moved back to where they were in {data}.")  # noqa: T201
    for move in left[:SHOWN]:
        why = "another file stands in its old place" if (data / move.target).exists() else "it is no longer there"
        print(f"Not moved back: {shown(move.target)}: {why}.")  # noqa: T201
    return 1 if left else 0
