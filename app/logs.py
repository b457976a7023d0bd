"""The service's log: a line for each request and for what befalls the process, on stderr, as text or as JSON.

Whatever a line holds, it stays one line, and of a request it says nothing that its client wrote: no path, query, file
name, URL or header, but for a request id and a trace id of the right form.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from app.log_writer import NAME, Writer
from app.outcome import PROBES, Outcome

# Asked every few seconds: no line tells that all is well, nor again that the process starts or stops.
QUIET_ROUTES = (*PROBES, "/metrics")
EXPECTED: tuple[list[str], ...] = ([], ["starting"], ["draining"])
# What these say below ERROR we say ourselves (uvicorn), or it holds URLs (httpx2's INFO, httpcore2's DEBUG), or is said
# at each try while the collector of traces is away (opentelemetry).
QUIET = ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx2", "httpcore2", "opentelemetry")

MAX_DETAIL = 200  # characters; a decoder's words may quote the photo
MAX_TRACEBACK = 8_000
PLAIN = re.compile(r"[\w./:+-]+")

codecs.lookup("unicode_escape")  # loads it now: the line that tells that no file may be opened any more needs it

log = logging.getLogger(NAME)


def log_request(outcome: Outcome) -> None:
    """Write the line of a request that has ended; a fault's traceback is part of it."""
    if outcome.route in QUIET_ROUTES and outcome.refusals in EXPECTED:
        return
    level = logging.ERROR if outcome.fault else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "request", extra={"fields": request_fields(outcome)}, exc_info=outcome.fault)


def request_fields(outcome: Outcome) -> dict[str, Any]:
    """What a request's line says, in this order; what there was not is left out. Times in ms."""
    fields = {
        "id": outcome.id,
        "route": outcome.route,
        "method": outcome.method,
        "status": outcome.status,
        "total_ms": milliseconds(outcome.total_s),
        **{f"{step}_ms": milliseconds(seconds) for step, seconds in outcome.seconds().items()},
        "photos": len(outcome.answers),
        "bundle": outcome.bundle,
        "error": ",".join(dict.fromkeys(outcome.refusals)),
        "detail": outcome.detail[:MAX_DETAIL],
        "trace_id": outcome.traceparent[3:35],
        "span_id": outcome.traceparent[36:52],
    }
    return {name: value for name, value in fields.items() if value or isinstance(value, float)}


def milliseconds(seconds: float) -> float:
    """To a microsecond."""
    return round(1000 * seconds, 3)


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value …`; a traceback follows on lines of its own, each behind a bar."""

    def format(self, record: logging.LogRecord) -> str:
        source = "" if record.name == log.name else f"{record.name}: "
        words = [f"{utc(record.created)} {record.levelname} {source}{record.getMessage()}"]
        words += [f"{name}={quoted(value)}" for name, value in getattr(record, "fields", {}).items()]
        lines = [printable(" ".join(words))]
        lines += [f"  | {printable(line)}" for line in traceback_of(record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, message, then the fields; a traceback is one string. ASCII alone."""

    def format(self, record: logging.LogRecord) -> str:
        content = {"time": utc(record.created), "level": record.levelname, "message": record.getMessage()}
        if record.name != log.name:
            content["logger"] = record.name
        content |= getattr(record, "fields", {})
        if record.exc_info:
            content["traceback"] = traceback_of(record)
        return json.dumps(content)


def utc(created: float) -> str:
    """Seconds since 1970 as 2026-11-26T10:12:13.123Z."""
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """The text with everything escaped that could end a line, move a cursor or turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: object) -> str:
    """A value that can be told from what follows it."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def traceback_of(record: logging.LogRecord) -> str:
    """The end of the traceback, which says what went wrong; empty if there is none."""
    return "".join(traceback.format_exception(*record.exc_info))[-MAX_TRACEBACK:] if record.exc_info else ""


@contextmanager
def writing(form: str) -> Iterator[None]:
    """From here on the whole process logs to stderr, one record a line, as `text` or `json`."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    # Without a stderr its number would go to the next socket that is opened.
    writer = Writer(sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY))
    writer.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[writer], force=True)
    log.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        writer.close()
