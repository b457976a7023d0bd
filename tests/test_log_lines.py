"""The log's two forms, and how its lines are written: nobody waits, and what was lost is said."""

import json
import logging
import os
import re
import time
from pathlib import Path

import pytest

from app.log_writer import MAX_WAITING_LINES, Writer
from app.logs import JsonFormatter, TextFormatter
from tests.test_logs import TIME
from tests.test_serve import until

# ── the two forms ─────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "a\r\nb\tc\x1b[31md\x00e\x7ff\x85g\u2028h\u202ei\udcffj"


def record(message: str, fault: Exception | None = None, **fields: object) -> logging.LogRecord:
    content = {"name": "tellapart", "levelname": "INFO", "msg": message, "fields": fields}
    return logging.makeLogRecord({**content, "exc_info": fault and (type(fault), fault, fault.__traceback__)})


def test_the_text_form() -> None:
    line = TextFormatter().format(record("request", id="a-1", route="/upload", status=200, total_ms=1.5, error="a,b"))
    assert re.fullmatch(rf'{TIME} INFO request id=a-1 route=/upload status=200 total_ms=1.5 error="a,b"', line)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_whatever_a_line_holds_it_is_one_line_of_what_can_be_printed(formatter: logging.Formatter) -> None:
    line = formatter.format(record(HOSTILE, detail=HOSTILE))
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x80-\x9f\u2028\u202e\udcff]", line)
    assert formatter.format(record("Bär 🐻")).endswith(("Bär 🐻", '"B\\u00e4r \\ud83d\\udc3b"}'))


def test_a_traceback_as_text_cannot_pass_for_lines_of_the_log() -> None:
    try:
        raise ValueError(f"first\n2026-11-26T10:00:00.000Z INFO {HOSTILE}")
    except ValueError as error:
        lines = TextFormatter().format(record("request", error)).split("\n")
    assert re.fullmatch(rf"{TIME} INFO request", lines[0])
    assert all(line.startswith("  | ") and line.isprintable() for line in lines[1:])
    assert len(lines) > 4


def test_an_endless_exception_is_cut() -> None:
    try:
        raise ValueError("x" * 10**6 + " and the end")
    except ValueError as error:
        line = JsonFormatter().format(record("request", error))
    assert len(line) < 10_000
    assert json.loads(line)["traceback"].endswith(" and the end\n")


def test_other_programs_lines_name_their_source() -> None:
    other = logging.makeLogRecord({"name": "uvicorn.error", "levelname": "ERROR", "msg": "%s", "args": ("x",)})
    assert TextFormatter().format(other).endswith(" ERROR uvicorn.error: x")
    assert json.loads(JsonFormatter().format(other))["logger"] == "uvicorn.error"


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_waits_for_a_pipe_that_is_not_read() -> None:
    """Lines past the bound are lost, and the next one that can be written says how many were."""
    read, write = os.pipe()
    writer = Writer(write)
    writer.setFormatter(TextFormatter())
    started_at = time.monotonic()
    for number in range(MAX_WAITING_LINES + 2000):
        writer.handle(record("request", number=number, filler="x" * 80))
    writer.close()  # does not wait for ever either
    assert time.monotonic() - started_at < 20
    text, kept, lost = b"", 0, 0
    while kept + lost < MAX_WAITING_LINES + 2000:
        text += os.read(read, 65536)
        kept = text.count(b"number=")
        lost = sum(map(int, re.findall(rb" WARNING (\d+) lines of this log were lost: .*\n", text)))
    assert kept + lost == MAX_WAITING_LINES + 2000
    assert 1000 < lost < 2000
    os.close(read)
    os.close(write)


def test_a_pipe_that_was_closed_breaks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    writer = Writer(write)
    for formatter in (TextFormatter(), None):
        writer.setFormatter(formatter)
        writer.handle(record("request"))
        writer.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    writer.close()
    os.close(write)
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_loses_lines_and_says_so_when_there_is_room_again(tmp_path: Path) -> None:
    """A line of which only the beginning was written does not swallow the next one's."""
    path, (read, write) = tmp_path / "log", os.pipe()
    os.set_blocking(write, False)
    writer = Writer(write)
    writer.setFormatter(JsonFormatter())
    writer.handle(record("x" * 200_000))
    until(lambda: writer._torn)
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), write)
    torn = os.read(read, 10**6)  # now it tries to write the rest
    until(lambda: writer._lost == 1)
    writer.handle(record("lost"))
    until(lambda: writer._lost == 2)
    with path.open("wb", buffering=0) as file:
        file.write(torn)
        os.dup2(file.fileno(), write)
    writer.handle(record("written"))
    writer.close()
    os.close(read)
    os.close(write)
    half, *lines = path.read_bytes().splitlines()
    assert half == torn
    assert [json.loads(line)["message"] for line in lines] == [
        "2 lines of this log were lost: they could not be written.",
        "written",
    ]


def test_a_pipe_that_blocks_no_writer_is_waited_for() -> None:
    """What some supervisors give."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = Writer(write)
    writer.setFormatter(TextFormatter())
    for number in range(2000):
        writer.handle(record("request", number=number, filler="x" * 80))
    text = b""
    while b"number=1999" not in text:
        text += os.read(read, 65536)
    writer.close()
    assert len(text.splitlines()) == 2000
