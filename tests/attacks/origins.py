"""Origins for a real service to fetch from: a TCP server on loopback that answers each path in its own way."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# The whole answer, or what sends it.
Answer = bytes | Callable[[socket.socket], None]


class Origin:
    """A listener; `heads` are those of its requests in order, `connections` how many there were."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.heads: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # which also wakes the thread
        self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            answer = self.answers[head.split()[1].decode()]
            if callable(answer):
                answer(sock)
            else:
                sock.sendall(answer)


@contextmanager
def origin(answers: Mapping[str, Answer] | None = None) -> Iterator[Origin]:
    """An origin with these answers by path; without any it is a canary, which nobody should call."""
    listener = Origin(answers or {})
    try:
        yield listener
    finally:
        listener.close()


def sabotaged(folder: Path, source: str) -> dict[str, str]:
    """The variables of a Python process that runs this source before anything else."""
    (folder / "sitecustomize.py").write_text(source)
    return {"PYTHONPATH": str(folder)}
