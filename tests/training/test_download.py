"""The download command against a web site on loopback."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live import ROOT
from tests.training.conftest import picture
from training import download
from training.errors import TrainingError
from training.patience import Pace

FAST = Pace(pause_s=0, back_off_s=0.01)
Answer = tuple[int, dict[str, str], bytes]
PAGE = b"<!doctype html><title>Not here</title>"


def photo(number: int, form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    picture("disc", number, (40, 30)).save(out, form)
    return out.getvalue()


def name(content: bytes, extension: str = ".jpg") -> str:
    return hashlib.sha256(content).hexdigest()[:16] + extension


class Site(ThreadingHTTPServer):
    """Answers each path as `answers` says (a list: one after the other, then the last); 404 with a page elsewhere."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, bytes | Answer | list[Answer]] = {}
        self.asked: list[str] = []
        self.moments: list[float] = []
        self.slow_s = 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def hosts(self) -> str:
        """Its two names, for --url-hosts."""
        return f"{self.host},localhost:{self.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def photos(self, count: int) -> list[str]:
        """The URLs of so many different photos."""
        self.answers |= {f"/{number}": photo(number) for number in range(count)}
        return [self.url(f"/{number}") for number in range(count)]

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.asked.append(self.path)
            site.moments.append(time.monotonic())
            site.at_once += 1
            site.most_at_once = max(site.most_at_once, site.at_once)
        time.sleep(site.slow_s)
        with site.lock:
            site.at_once -= 1
        answer = site.answers.get(self.path, (404, {}, PAGE))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
        if not status:  # hang up
            return
        self.send_response(status)
        for header, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Get = Callable[..., int]


@pytest.fixture
def get(site: Site, tmp_path: Path) -> Get:
    """get(lines, *flags): run the command on a file of these lines; class black unless `label` says otherwise."""

    def run(lines: list[str] | str, *flags: str, label: str | None = "black", pace: Pace = FAST) -> int:
        file = tmp_path / "my urls.txt"
        file.write_text(lines if isinstance(lines, str) else "\n".join(lines), newline="")
        given = [] if label is None else ["--class", label]
        parser = argparse.ArgumentParser()
        download.add_arguments(parser)
        arguments = [str(tmp_path / "data"), "--urls", str(file), *given, "--url-hosts", site.host, *flags]
        return download.run(parser.parse_args(arguments), pace)

    return run


def files(tmp_path: Path) -> list[str]:
    """All files below DATA but the ledger."""
    data = tmp_path / "data"
    return sorted(str(p.relative_to(data)) for p in data.rglob("*") if p.is_file() and p.name != "ledger.csv")


def ledger(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "data" / "_tellapart" / "ledger.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# What is kept


def test_photos_are_named_by_content_and_the_ledger_has_a_row_for_each_url(site, get, tmp_path, capsys):
    jpeg, png = photo(1), photo(2, "PNG")
    site.answers = {"/a%20b.jpg?Signature=x%2By%3D&w=640": jpeg, "/logo.jpg": (200, {"Content-Type": "text/html"}, png)}
    assert get([site.url("/a b.jpg?Signature=x%2By%3D&w=640#top"), site.url("/logo.jpg")]) == 0
    assert files(tmp_path) == sorted([f"black/{name(jpeg)}", f"black/{name(png, '.png')}"])
    assert (tmp_path / "data" / "black" / name(jpeg)).read_bytes() == jpeg
    first, second = sorted(ledger(tmp_path), key=lambda row: row["type"])
    assert first == {
        "url": site.url("/a%20b.jpg?Signature=x%2By%3D&w=640"), "class": "black", "outcome": "done", "status": "200",
        "type": "JPEG", "bytes": str(len(jpeg)), "sha256": hashlib.sha256(jpeg).hexdigest(),
        "file": f"black/{name(jpeg)}", "reason": "",
    }  # fmt: skip
    assert second["type"] == "PNG"
    assert "black: 2 photos new." in capsys.readouterr().out


def test_what_is_no_photo_is_not_kept_and_the_ledger_says_why(site, get, tmp_path, capsys):
    site.answers = {
        "/page.jpg": PAGE,
        "/empty.jpg": b"",
        "/huge.jpg": (200, {"Content-Length": "20000001"}, b""),
        "/ok.jpg": photo(1),
    }
    assert get([site.url(f"/{word}.jpg") for word in ("page", "empty", "huge", "gone", "ok")]) == 1
    assert files(tmp_path) == [f"black/{name(photo(1))}"]
    rows = {row["url"].rpartition("/")[2]: row for row in ledger(tmp_path)}
    assert {word: (row["outcome"], row["status"]) for word, row in rows.items()} == {
        "page.jpg": ("refused", "200"), "empty.jpg": ("refused", "200"), "huge.jpg": ("refused", "200"),
        "gone.jpg": ("refused", "404"), "ok.jpg": ("done", "200"),
    }  # fmt: skip
    assert "404" in rows["gone.jpg"]["reason"]
    assert "20 MB" in rows["huge.jpg"]["reason"]
    assert len(site.asked) == 5  # nothing was asked twice
    out = capsys.readouterr().out
    assert "black: 1 photo new, 4 URLs failed." in out
    assert "2 × What the site sent is not a photo" in out


def test_the_same_content_is_stored_once_and_the_same_url_asked_once(site, get, tmp_path, capsys):
    site.answers = {"/a": photo(1), "/b": photo(1)}
    assert get([site.url("/a"), site.url("/b"), site.url("/a"), site.url("/a#top")]) == 0
    assert files(tmp_path) == [f"black/{name(photo(1))}"]
    assert sorted(site.asked) == ["/a", "/b"]
    assert [row["file"] for row in ledger(tmp_path)] == [f"black/{name(photo(1))}"] * 2
    assert "1 photo new, 1 URL gave a photo that was there" in capsys.readouterr().out


def test_a_photo_in_two_classes_is_kept_and_told(site, get, tmp_path, capsys):
    (url,) = site.photos(1)
    assert get([url]) == get([url], label="Schwarzer Bär") == 0
    assert files(tmp_path) == [f"Schwarzer Bär/{name(photo(0))}", f"black/{name(photo(0))}"]
    both = f"Schwarzer Bär/{name(photo(0))} and black/{name(photo(0))}"
    assert f"1 photo in more than one class, such as {both}: decide for one." in capsys.readouterr().out
    (tmp_path / "data" / "black" / name(photo(0))).unlink()
    get([url])
    assert "more than one class" not in capsys.readouterr().out


def test_work_keeps_the_ledger_elsewhere(site, get, tmp_path):
    assert get(site.photos(1), "--work", str(tmp_path / "my work")) == 0
    assert (tmp_path / "my work" / "ledger.csv").exists()
    assert not (tmp_path / "data" / "_tellapart").exists()


# Again


def test_a_second_run_asks_only_for_what_failed_for_a_passing_reason(site, get, tmp_path, capsys):
    site.answers = {"/ok": photo(1), "/ill": [(503, {}, b"")] * 3 + [(200, {}, photo(2))]}
    lines = [site.url(path) for path in ("/ok", "/gone", "/ill")]
    assert get(lines) == 1
    assert site.asked.count("/ill") == 3
    site.asked.clear()
    assert get(lines) == 1
    assert site.asked == ["/ill"]
    assert [row["outcome"] for row in ledger(tmp_path)].count("done") == 2
    assert len(ledger(tmp_path)) == 3
    first, second = capsys.readouterr().out.split("Next: ")[:2]
    assert "1 URL failed for a reason that may pass; the same command asks again." in first
    assert "1 photo new, 1 photo got earlier, 1 URL failed in an earlier run." in second
    assert "may pass" not in second


@pytest.mark.parametrize("passing", [(500, {}, b""), (429, {"Retry-After": "0"}, b""), (408, {}, b""), (0, {}, b"")])
def test_what_fails_for_a_moment_is_asked_again_in_the_same_run(site, get, passing):
    site.answers = {"/a": [passing, passing, (200, {}, photo(1))]}
    assert get([site.url("/a")]) == 0
    assert site.asked == ["/a"] * 3


def test_retry_after_is_waited_for_by_all_of_a_site(site, get):
    lines = site.photos(6)
    site.answers["/0"] = [(503, {"Retry-After": "1"}, b""), (200, {}, photo(0))]
    site.slow_s = 0.05
    started = time.monotonic()
    assert get(lines) == 0
    assert site.asked.count("/0") == 2
    assert len([moment for moment in site.moments if moment - started < 1]) <= 4


def test_a_site_that_asks_for_more_patience_than_we_have_is_left_alone(site, get, tmp_path, capsys):
    lines = site.photos(20)
    site.answers["/1"] = (429, {"Retry-After": "3600"}, b"")
    assert get([*lines, site.url("/2").replace("127.0.0.1", "localhost")], "--url-hosts", site.hosts) == 1
    assert len(site.asked) < 10  # two at a time, and the other host's
    out = capsys.readouterr().out
    assert "127.0.0.1 asks to be left alone for 3600 seconds: 1" in out
    assert len(files(tmp_path)) >= 1
    site.answers["/1"] = photo(1)
    assert get(lines) == 0
    assert len(files(tmp_path)) == 20


def test_a_site_that_fails_again_and_again_is_left_and_the_next_run_starts_with_the_others(site, get, tmp_path, capsys):
    lines = site.photos(20)
    site.answers |= {f"/{number}": (500, {}, b"") for number in range(6)}
    assert get(lines) == 1
    assert len(site.asked) < 3 * 8
    assert "127.0.0.1 failed 5 times in a row: 1" in capsys.readouterr().out
    site.asked.clear()
    assert get(lines) == 1
    assert len(files(tmp_path)) == 14
    assert set(site.asked[:10]) <= {f"/{number}" for number in range(5, 20)}


def test_a_photo_that_a_person_took_away_stays_away(site, get, tmp_path, capsys):
    site.answers = {"/a": photo(1), "/b": photo(1)}
    assert get([site.url("/a")]) == 0
    (tmp_path / "data" / "black" / name(photo(1))).unlink()
    assert get([site.url("/a"), site.url("/b")]) == 0
    assert files(tmp_path) == []
    assert "1 photo gone from" in capsys.readouterr().out


def test_hosts_that_the_policy_forbids_are_not_asked_until_it_allows_them(site, get, tmp_path):
    lines = site.photos(1)
    assert get(lines, "--url-hosts", "public") == 1
    assert site.asked == []
    assert "--url-hosts" in ledger(tmp_path)[0]["reason"]
    assert get(lines) == 0


def test_an_interrupted_run_goes_on(site, get, tmp_path):
    site.slow_s = 0.1
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join(site.photos(30)))
    code = (
        "import argparse, sys; from training import download; parser = argparse.ArgumentParser();"
        "download.add_arguments(parser); sys.exit(download.run(parser.parse_args()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data"), "--urls", str(urls), "--class", "black"]
    with subprocess.Popen(
        [*command, "--url-hosts", site.host], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(site.asked) < 6:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "Stopped: the same command goes on from here.\n"
    assert "not asked" in out
    rows = ledger(tmp_path)
    assert 3 <= len(rows) < 30
    assert [row["file"] for row in sorted(rows, key=lambda row: row["file"])] == files(tmp_path)
    site.slow_s = 0
    site.asked.clear()
    assert get(urls.read_text()) == 0
    assert len(site.asked) == 30 - len(rows)
    assert len(files(tmp_path)) == 30


def test_what_a_killed_run_left_half_written_goes(site, get, tmp_path):
    folder = tmp_path / "data" / "black"
    folder.mkdir(parents=True)
    (folder / f"{'ab' * 8}.jpg.tmp").write_bytes(photo(1)[:100])
    (folder / "mine.tmp").write_bytes(b"not ours")
    assert get(site.photos(1)) == 0
    assert files(tmp_path) == sorted([f"black/{name(photo(0))}", "black/mine.tmp"])


def test_a_class_folder_that_cannot_be_written_is_told_as_such(site, get, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "black").write_text("a file")
    assert get(site.photos(8)) == 2
    said = capsys.readouterr()
    assert said.err == f"{tmp_path}/data/black: File exists. The same command goes on from here.\n"
    assert "8 URLs not asked" in said.out


def test_a_full_disk_is_told_and_nothing_half_written_stays(site, get, tmp_path, capsys):
    large = picture("disc", 1, (600, 400)).tobytes()  # no JPEG inside, but the first bytes count
    lines = site.photos(12)
    site.answers["/7"] = b"\xff\xd8\xff" + large
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        assert get(lines) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr()
    assert said.err.endswith(".jpg: File too large. The same command goes on from here.\n")
    assert "photos new" in said.out
    assert files(tmp_path) == sorted(row["file"] for row in ledger(tmp_path))
    assert get(lines) == 0
    assert len(files(tmp_path)) == 12


# How many, how fast


def test_max_pics_counts_photos_and_not_urls(site, get, tmp_path, capsys):
    lines = [site.url("/gone"), site.url("/again"), *site.photos(20)]
    site.answers["/again"] = photo(0)
    assert get(lines, "--max-pics", "4") == 1
    assert len(files(tmp_path)) == 4
    assert "4 photos new" in capsys.readouterr().out
    site.asked.clear()
    assert get(lines, "--max-pics", "4") == 1
    assert site.asked == []
    assert get(lines, "--max-pics", "6") == 1
    assert len(files(tmp_path)) == 6
    (tmp_path / "data" / files(tmp_path)[0]).unlink()
    assert get(lines, "--max-pics", "6") == 1
    assert len(files(tmp_path)) == 6


def test_max_pics_is_per_class(site, get, tmp_path):
    lines = [f"{url},{'ab'[number % 2]}" for number, url in enumerate(site.photos(20))]
    assert get(["url,class", *lines], "--max-pics", "3", label=None) == 0
    assert sorted(file[0] for file in files(tmp_path)) == ["a", "a", "a", "b", "b", "b"]


def test_without_workers_it_goes_in_order_and_stops_at_the_first_failure(site, get, tmp_path, capsys):
    lines = site.photos(4)
    lines.insert(2, site.url("/gone"))
    assert get(lines, "--workers", "0") == 1
    assert site.asked == ["/0", "/1", "/gone"]
    assert len(files(tmp_path)) == 2
    assert capsys.readouterr().err == f"{site.url('/gone')}: The site answered 404.\n"
    assert get(lines, "--workers", "0") == 1  # that one is known now: the others follow
    assert len(files(tmp_path)) == 4


def test_a_host_is_asked_for_two_at_a_time(site, get):
    site.slow_s = 0.05
    assert get(site.photos(8), "--workers", "8") == 0
    assert site.most_at_once == 2


def test_several_hosts_are_asked_at_once_but_no_more_than_workers(site, get):
    site.slow_s = 0.1
    urls = site.photos(12)
    lines = [url.replace("127.0.0.1", "localhost") if number % 2 else url for number, url in enumerate(urls)]
    assert get(lines, "--workers", "3", "--url-hosts", site.hosts) == 0
    assert site.most_at_once == 3


def test_a_host_has_a_pause_after_each_url(site, get):
    started = time.monotonic()
    assert get(site.photos(5), pace=Pace(pause_s=0.2)) == 0
    assert time.monotonic() - started > 0.39  # two lanes, three URLs in one of them


# The file


def test_lines_that_are_no_urls_are_told_with_their_number(site, get, tmp_path, capsys):
    assert get(["# bears", "bear.jpg", "", *site.photos(1), "ftp://a.test/b", *"cdefgh"]) == 1
    out = capsys.readouterr().out
    assert "my urls.txt, line 2: " in out
    assert "line 5: " in out
    assert "… and 3 more" in out
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "label",
    ["", " ", "a/b", "..", ".a", "_tellapart", "a\\b", "a\nb", "b" * 201, "ä" * 101, "Not Sure", "none of these"],
)
def test_names_that_no_class_may_have(site, get, tmp_path, label):
    with pytest.raises(TrainingError, match="--class: a class cannot be called"):
        get(site.photos(1), label=label)
    assert files(tmp_path) == []


def test_hosts_that_make_no_sense(site, get):
    for hosts in ("none", "http://a.test"):
        with pytest.raises(TrainingError, match="--url-hosts"):
            get(site.photos(1), "--url-hosts", hosts)


@pytest.mark.parametrize("flags", [("--workers", "-1"), ("--workers", "65"), ("--workers", "x"), ("--max-pics", "0")])
def test_numbers_out_of_bounds(get, capsys, flags):
    with pytest.raises(SystemExit) as caught:
        get("http://a.test", *flags)
    assert caught.value.code == 2
    assert "whole number" in capsys.readouterr().err
