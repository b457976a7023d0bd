"""Another bundle without a stop, in a real process: signals, links, requests meanwhile, memory afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import httpx2
import pytest

from app.bundle import read_bundle
from tests import bundles
from tests.bundles import point
from tests.live import ROOT, Live, clean_env, end, free_port, live_service, wait_until_ready
from tests.wire import BODY, HANG_S, TEDDY, connection, get, post, read_response, until, upload_head

VERDICTS = {"bears": "teddys", "swapped": "black"}  # of the drawn teddy


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.shelf(tmp_path_factory.mktemp("models"))


@pytest.fixture
def link(shelf: Path, tmp_path: Path) -> Path:
    """A link to the shipped bears."""
    point(tmp_path / "current", shelf / "bears")
    return tmp_path / "current"


def last_reload(live: Live) -> dict[str, str] | None:
    found: dict[str, str] | None = get(live, "/model").json()["plan"]["last_reload"]
    return found


def hang_up(live: Live) -> str:
    """SIGHUP; how the reload ended."""
    before = last_reload(live)
    live.process.send_signal(signal.SIGHUP)
    until(lambda: last_reload(live) != before)
    return str((last_reload(live) or {})["outcome"])


def megabytes(live: Live) -> float:
    """Resident memory, without that of files."""
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def test_three_reloads_under_load_lose_no_request(shelf: Path, link: Path) -> None:
    """Each answer is of the bundle that it names, and once one has been answered by the next bundle, so are all."""
    verdicts = {read_bundle(shelf / name).version: verdict for name, verdict in VERDICTS.items()}
    first, stop = next(iter(verdicts)), threading.Event()

    def keep_uploading(live: Live) -> list[tuple[int, str, str]]:
        answers = []
        with httpx2.Client(timeout=HANG_S, trust_env=False) as client:
            while not stop.is_set():
                response = client.post(f"{live.url}/upload", files={"file": TEDDY})
                answer = response.json()
                answers.append((response.status_code, answer["model"]["version"], answer["verdict"]))
        return answers

    with live_service("--model", str(link)) as live, ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(keep_uploading, live) for _ in range(4)]
        try:
            for name, outcome in (("swapped", "loaded"), ("broken", "refused"), ("bears", "loaded")):
                point(link, shelf / name)
                assert hang_up(live) == outcome
                assert get(live, "/readyz").status_code == 200
                post(live, TEDDY)
        finally:
            stop.set()
        for loop in loops:
            answers = loop.result()
            assert {status for status, _, _ in answers} == {200}
            assert all(verdicts[version] == verdict for _, version, verdict in answers)
            assert [version for version, _ in groupby(version for _, version, _ in answers)] == [*verdicts, first]
        said = [line.split(" ", 1)[1].split(" bears ")[0] for line in live.log.read_text().splitlines()]
        assert [line for line in said if "eload" in line] == [
            "INFO Reloaded:", "ERROR Reload refused,", "INFO Reloaded:"
        ]  # fmt: skip


def test_memory_for_two_during_the_change_only(link: Path, shelf: Path) -> None:
    """A bundle takes some 60 MB; what malloc keeps for itself after the first few loads is less."""
    with live_service("--model", str(link)) as live:
        used = []
        for name in ("swapped", "broken", "bears") * 2:
            point(link, shelf / name)
            hang_up(live)
            assert post(live, TEDDY).status_code == 200
            used.append(megabytes(live))
        assert max(used) - used[0] < 40, used


def test_a_changed_link_is_noticed_within_seconds(link: Path, shelf: Path) -> None:
    with live_service("--model", str(link)) as live:
        assert post(live, TEDDY).json()["verdict"] == "teddys"
        point(link, shelf / "swapped")
        until(lambda: post(live, TEDDY).json()["verdict"] == "black")
        live.process.send_signal(signal.SIGHUP)  # and leaving at once ends as ever
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0


def ignores_hangups(process: subprocess.Popen[bytes]) -> bool:
    """Whether SIGHUP no longer ends it: it is ignored or handled."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    masks = [int(status.partition(name)[2].split()[0], 16) for name in ("SigIgn:", "SigCgt:")]
    return any(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)


def test_a_storm_of_signals_from_the_start_to_the_end(tmp_path: Path) -> None:
    """Before there is anything to reload, while the first bundle loads, while it serves, and while it drains."""
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdout=out, stderr=out) as process:
        stop = threading.Event()

        def storm() -> None:
            while not stop.wait(0.002):
                process.send_signal(signal.SIGHUP)

        storming = threading.Thread(target=storm)
        try:
            until(lambda: ignores_hangups(process))
            storming.start()
            wait_until_ready(process, port, log)
            live = Live(f"http://127.0.0.1:{port}", port, process, log)
            until(lambda: last_reload(live) is not None)
            with connection(port) as sock:
                sock.sendall(upload_head(BODY) + BODY[:1000])
                assert get(live, "/livez").status_code == 200
                process.send_signal(signal.SIGTERM)
                until(lambda: get(live, "/readyz").status_code == 503)
                sock.sendall(BODY[1000:])
                assert read_response(sock)[0] == 200
            assert process.wait(HANG_S) == 0
        finally:
            stop.set()
            storming.join()
            end(process)
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("the same version as before") >= 1
