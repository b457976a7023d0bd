"""Lines on their way to stderr, written by a thread of their own."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from queue import SimpleQueue

NAME = "tellapart"
MAX_WAITING_LINES = 10_000  # some 3 MB
CLOSE_S = 1.0
GATHER_S = 0.02  # between looks at the queue: waking for each line takes a tenth of the CPU that HTTP takes


class Writer(logging.Handler):
    """Writes lines in a thread of its own, so that a stderr that nobody reads holds up no request.

    Where too many lines wait, or writing one fails (a full disk, a closed pipe), it is lost; the next one that is
    written says how many were.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: SimpleQueue[str | None] = SimpleQueue()  # whose put may be interrupted by a signal that logs
        self._lost = 0
        self._torn = False  # whether the last line was written in part
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (a line that cannot be formatted must not break what it tells of)
            line = None
        if line is None or self._lines.qsize() >= MAX_WAITING_LINES:
            self._count_lost()
        else:
            self._lines.put(line)

    def close(self) -> None:
        """Write what waits, for CLOSE_S at most."""
        self._lines.put(None)
        self._thread.join(CLOSE_S)
        super().close()

    def _count_lost(self) -> None:
        self.acquire()
        self._lost += 1
        self.release()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                if self._lost:
                    self._tell_lost()
                self._write(line)
            except OSError:
                self._count_lost()
            if self._lines.empty():
                time.sleep(GATHER_S)

    def _tell_lost(self) -> None:
        lost = self._lost
        sentence = f"{lost} lines of this log were lost: they could not be written."
        self._write(self.format(logging.makeLogRecord({"name": NAME, "levelname": "WARNING", "msg": sentence})))
        self.acquire()
        self._lost -= lost
        self.release()

    def _write(self, line: str) -> None:
        """To the descriptor itself: sys.stderr has a lock, which a blocked thread would hold for ever."""
        data = b"\n" * self._torn + line.encode("utf-8", "backslashreplace") + b"\n"
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
                self._torn = bool(data)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
