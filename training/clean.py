"""The clean command: look through a run's hardest photos in the browser, and keep, delete or relabel each.

The fast.ai lesson's FileDeleter as a page of this machine alone; nothing moves before it is confirmed.
"""

from __future__ import annotations

import argparse
import errno
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from training.clean_advice import advice
from training.clean_decisions import FILE
from training.clean_list import BLOCK, read_neighbours
from training.clean_server import create_app
from training.clean_session import Session
from training.errors import TrainingError
from training.files import held
from training.history import read_predictions
from training.progress import advancer, bars
from training.run_folder import Run, read_run

HOST = "127.0.0.1"  # and no flag for another: the page moves files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train or import wrote")
    parser.add_argument("--data", type=Path, metavar="DATA", help="the photos, if no longer where the run found them")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where deleted photos go (default: DATA/_tellapart)")
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port of 127.0.0.1 (default: any that is free)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, which is how it is meant to end: exit code 0."""
    finished = read_run(args.run_folder, args.data)
    if not finished.data.is_dir():
        raise TrainingError(f"The run's photos are not at {finished.data}: give their folder with --data.")
    with held(finished.folder, f"Another clean is looking through {finished.folder}: end that one with Ctrl-C first."):
        session = open_session(finished, args.work or finished.data / "_tellapart")
        with listen(args.port) as listening:
            serve(session, listening)
    print(f"\n{last_words(session)}")  # noqa: T201
    return 0


def open_session(finished: Run, work: Path) -> Session:
    """The session over a finished run, with progress while neighbours are compared."""
    predictions, neighbours = read_predictions(finished.folder), read_neighbours(finished)
    unjudged = len(finished.rows) - len(predictions)
    with bars() as progress:
        blocks = -(-unjudged // BLOCK)
        advance = advancer(progress, "nearest neighbours", blocks) if blocks else lambda: None
        return Session(finished, work, predictions, neighbours, advance)


def listen(port: int) -> socket.socket:
    """A socket bound to 127.0.0.1; raises TrainingError if the port cannot be had."""
    if not 0 <= port < 65_536:
        raise TrainingError(f"--port must be from 0 to 65535, not {port}.")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise TrainingError(f"Port {port} of {HOST} cannot be had ({reason}): choose another --port.") from error


def serve(session: Session, listening: socket.socket) -> None:
    """Print the page's address, and serve it until Ctrl-C."""
    token, port = secrets.token_urlsafe(), int(listening.getsockname()[1])
    # The socket listens already, so a browser that comes at once waits a moment and is answered.
    print(f"Open http://{HOST}:{port}/#{token}", flush=True)  # noqa: T201
    print("Ctrl-C ends it; what you decided is kept.", flush=True)  # noqa: T201
    with suppress(KeyboardInterrupt):
        server(session, token, port).run(sockets=[listening])


class Server(uvicorn.Server):
    """Asked to end, it first ends what it is at, however often it is asked: photos may be on their way."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.force_exit = False


def server(session: Session, token: str, port: int) -> Server:
    """What serves the page, once it is given a socket that listens at `port`."""
    config = uvicorn.Config(
        create_app(session, token, port), http="h11", ws="none", lifespan="off", loop="asyncio",
        log_config=None, access_log=False, server_header=False,
    )  # fmt: skip
    return Server(config)


def last_words(session: Session) -> str:
    """What stands at the end, and the commands that come next."""
    waiting, words = len(session.changes()["changes"]), advice(session.run, session.work)
    lines = []
    if waiting:
        lines.append(f"Changes waiting in {session.run.folder / FILE}: {waiting}. The same command goes on from there.")
    if session.moved:
        lines.append(f"Photos moved: {session.moved}. This takes it back: {words['undo']}")
        lines += [
            "Next, with train's flags of the first time:",
            *(f"  {line}" for line in words["next"]),
        ]
    return "\n".join(lines) or "Nothing was moved."
