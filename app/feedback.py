"""Photos that people say the right class of, kept in a folder that training reads like any other, as CLASS/HASH.jpg.

Whoever may send feedback may send anything, so look through it before training on it (docs/train.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.answer import OUTSIDE
from app.errors import Refusal, SettingError

# What training takes for no class: names that begin so.
ASIDE = "_"
NONE_OF_THESE = ASIDE + OUTSIDE
SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "AVIF": ".avif",
    "HEIF": ".heic",
}
BLOCK = 4096
FULL = (errno.ENOSPC, errno.EDQUOT)


class FeedbackFolder:
    """The folder, and room for `most_bytes` in it. Safe to use from any number of threads. Raises SettingError.

    Other services may use the same folder: they take turns, where its file system has locks.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        self._counted: list[tuple[str, int]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                probe = folder / f".{os.getpid()}.tmp"
                probe.touch()
                probe.unlink()
                self._count()
        except OSError as error:
            raise SettingError(f"The feedback folder {folder} cannot be used: {error.strerror}.") from error

    def keep(self, photo: bytes, kind: str, label: str) -> bool:
        """Keep the photo, of that format, as `label`; whether it is new there.

        A photo that is there with another label gets this one: a person's last word counts. Raises Refusal("not_kept").
        """
        name = hashlib.sha256(photo).hexdigest() + SUFFIXES[kind]
        place = self.folder / (NONE_OF_THESE if label == OUTSIDE else label) / name
        try:
            with self._alone():
                return self._put(place, photo)
        except OSError as error:
            why = "There is no room left" if error.errno in FULL else "The photo could not be written"
            raise Refusal("not_kept", f"{why}.", detail=f"{type(error).__name__}: {error.strerror}") from error

    def _put(self, place: Path, photo: bytes) -> bool:
        if self._stamp() != self._counted:
            self._count()
        try:
            place.parent.mkdir(exist_ok=True)
            if place.parent.is_symlink():  # what it leads to is neither counted nor searched
                raise Refusal("not_kept", "The photo could not be written.", detail=f"{place.parent} is a link")
            if place.exists():
                return False
            found = (each / place.name for each in self._folders())
            before = next((file for file in found if file.exists()), None)
            if before is not None:
                before.rename(place)
                return True
            size = taken(len(photo))
            if self._bytes + size > self.most_bytes:
                limit = f"{self.most_bytes / 1e6:g} MB"
                raise Refusal("not_kept", f"This service keeps {limit} of photos, and has as many.")
            write(place, photo)
            self._bytes += size
            return True
        finally:
            self._counted = self._stamp()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out this service's other threads, and other services. Raises OSError."""
        with self._lock:
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                with contextlib.suppress(OSError):  # not all network file systems lock folders
                    fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)

    def _count(self) -> None:
        self._bytes = 0
        for file in (file for folder in self._folders() for file in folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                self._bytes += taken(file.lstat().st_size)
        self._counted = self._stamp()

    def _stamp(self) -> list[tuple[str, int]]:
        """What is another one once others have added to the folder, or taken from it."""
        return [(each.name, each.stat().st_mtime_ns) for each in (self.folder, *self._folders())]

    def _folders(self) -> list[Path]:
        """Those that can be read: a volume's lost+found cannot."""
        folders = (each for each in self.folder.iterdir() if each.is_dir() and not each.is_symlink())
        return sorted(each for each in folders if os.access(each, os.R_OK | os.X_OK))


def taken(size: int) -> int:
    """Bytes of a disk that so large a file takes: else a million tiny photos would take a hundred times the quota."""
    return -(-size // BLOCK) * BLOCK


def check_label(label: str, classes: Sequence[str]) -> None:
    """Refuse what is neither a class nor "none of these", and a class that cannot be a folder of training's."""
    if label == OUTSIDE:
        return
    if label not in classes:
        raise Refusal("bad_request", f"label must be one of the classes, or {OUTSIDE!r}.")
    if label.startswith((".", ASIDE)) or "/" in label:
        raise Refusal("bad_request", "Photos of this class cannot be kept, as its name cannot be that of a folder.")


def write(place: Path, content: bytes) -> None:
    """The whole file or none. Raises OSError."""
    part = place.with_name(f".{place.name}.tmp")  # which training does not read
    try:
        part.write_bytes(content)
        part.rename(place)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def check_same_site(headers: Mapping[str, str], trusted: Sequence[str]) -> None:
    """Refuse what another site's page has a visitor's browser send, unless its origin is among `trusted`.

    Browsers say so in Sec-Fetch-Site, over plain HTTP and old ones in Origin alone; other programs send neither.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin in trusted:
        return
    own = origin is None or origin.partition("://")[2] == headers.get("host")
    if site not in ("same-origin", "none") if site is not None else not own:
        raise Refusal("cross_site", "Feedback is taken from this service's own page, not from another site's.")
