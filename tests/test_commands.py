"""The commands classify and check: what they print, and their exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import main
from app.bundle import CARD, WEIGHTS, read_bundle
from app.classifier import Classifier, load_classifier
from app.model_card import in_words
from tests import bundles
from tests.drawings import KINDS, bear, jpeg
from tests.live import ROOT, clean_env

BEARS = bundles.SHIPPED
CLASSES = ("black", "grizzly", "teddys")
HANG_S = 60


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier(BEARS, "openvino", 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A drawn bear of each kind."""
    folder = tmp_path_factory.mktemp("photos")
    for kind in KINDS:
        (folder / f"{kind}.jpg").write_bytes(jpeg(bear(kind, 3)))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle with a bit of its weights flipped."""
    bundle = bundles.copy(tmp_path_factory.mktemp("tampered"))
    data = bytearray((bundle / WEIGHTS).read_bytes())
    data[len(data) // 3] ^= 4
    (bundle / WEIGHTS).write_bytes(data)
    return bundle


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean_env().keys():
        monkeypatch.delenv(name)


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m app …` as a process."""
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    environment = clean_env() | environ
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S)


def result(classifier: Classifier, path: Path) -> dict[str, Any]:
    """What the API answers for a photo, without its notes."""
    answer = classifier.classify(path.read_bytes())
    return {"predictions": [list(pair) for pair in answer.predictions], "verdict": answer.verdict}


def test_classify_prints_a_line_per_photo(classifier: Classifier, photos: list[Path]) -> None:
    done = run("classify", *photos)
    assert (done.returncode, done.stderr) == (0, "")
    width = max(len(str(path)) for path in photos)
    for line, path in zip(done.stdout.splitlines(), photos, strict=True):
        found = result(classifier, path)
        ranked = [f"{name} {100 * share:5.1f} %" for name, share in found["predictions"]]
        assert line == "  ".join([str(path).ljust(width), found["verdict"].ljust(len("none of these")), *ranked])


def test_classify_json(classifier: Classifier, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--json", *map(str, photos)]) == 0
    bundle = classifier.bundle
    assert json.loads(capsys.readouterr().out) == [
        {
            "file": str(path),
            **result(classifier, path),
            "model": {"name": bundle.name, "version": bundle.version},
            "image": {"format": "JPEG", "width": 360, "height": 288, "notes": []},
        }
        for path in photos
    ]


def test_classify_csv(classifier: Classifier, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A column per class in the bundle's order, whichever class leads."""
    assert main(["classify", "--csv", *map(str, photos)]) == 0
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["file", "verdict", *CLASSES, "error"]
    for row, path in zip(rows, photos, strict=True):
        expected = result(classifier, path)
        shares = dict(expected["predictions"])
        assert row == [str(path), expected["verdict"], *(str(shares[name]) for name in CLASSES), ""]


def test_many_photos_keep_their_order(photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    many = [photos[(7 * n) % 3] for n in range(40)]
    assert main(["classify", "--json", "--threads", "2", *map(str, many)]) == 0
    printed = capsys.readouterr()
    assert [row["file"] for row in json.loads(printed.out)] == [str(path) for path in many]
    assert printed.err == ""  # progress is for terminals


# a file's name and content (None: there is none; "": a folder), and what is said of it
FAULTS: dict[str, tuple[bytes | str | None, str]] = {
    "missing.jpg": (None, "No such file or directory."),
    "folder": ("", "This is a folder; give its photos, such as FOLDER/*.jpg."),
    "empty.jpg": (b"", "This file is empty."),
    "text.jpg": (b"a bear", "not an image"),
    "broken.jpg": (jpeg(bear("black", 3))[:3000], "damaged"),
    'odd, "name"\n.jpg': (b"a bear", "not an image"),
}


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("name", FAULTS)
def test_one_bad_file_is_exit_code_1_and_the_others_are_answered(
    tmp_path: Path, photos: list[Path], capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    content, said = FAULTS[name]
    bad = tmp_path / name
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        bad.mkdir()
    flags = [] if form == "table" else [f"--{form}"]
    assert main(["classify", *flags, str(photos[0]), str(bad), str(photos[1])]) == 1
    out = capsys.readouterr().out
    assert said in out
    if form == "json":
        first, second, third = json.loads(out)
        assert second.keys() == {"file", "error"}
        assert (first["file"], second["file"], third["file"]) == (str(photos[0]), str(bad), str(photos[1]))
        assert len(first["predictions"]) == len(third["predictions"]) == 3
    elif form == "csv":
        _, first, second, third = csv.reader(io.StringIO(out))
        assert second[:-1] == [str(bad), "", "", "", ""]
        assert first[0] == str(photos[0])
        assert min(float(share) for share in first[2:5] + third[2:5]) >= 0
    else:
        assert out.count(" %") == 6
        assert out.count("  error: ") == 1


def test_a_photo_over_the_limit_of_pixels(photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--max-pixels-mp", "0.1", str(photos[0])]) == 1
    assert "the limit is 0.1 megapixels" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_a_name_that_is_no_text(tmp_path: Path, photos: list[Path], form: str) -> None:
    odd = tmp_path / os.fsdecode(b"b\xffr.jpg")
    odd.write_bytes(photos[0].read_bytes())
    done = run("classify", *filter(None, [form]), odd, photos[1], PYTHONUTF8="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"b\udcffr.jpg" in done.stdout


def test_on_a_terminal_many_photos_are_counted_and_ctrl_c_is_exit_code_130(photos: list[Path]) -> None:
    command = [sys.executable, "-m", "app", "classify", "--threads", "1", *[str(photos[0])] * 4000]
    terminal, stderr = os.openpty()
    with subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdout=subprocess.PIPE, stderr=stderr) as process:
        os.close(stderr)
        shown = b""
        with suppress(OSError):  # how a terminal ends when nobody writes to it any more
            while data := os.read(terminal, 1000):
                if b"\r3 of 4000 photos" in shown + data and b"\r3 of 4000 photos" not in shown:
                    process.send_signal(signal.SIGINT)
                    asked = time.monotonic()
                shown += data
        os.close(terminal)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == 130
    assert time.monotonic() - asked < 10  # all of them would take a minute
    assert shown.endswith(b"Stopped.\r\n")
    assert b"Traceback" not in shown


def test_check_tells_what_a_bundle_is_and_how_far_it_is_off() -> None:
    done = run("check", BEARS)
    assert (done.returncode, done.stderr) == (0, "")
    bundle = read_bundle(BEARS)
    first, *rest, last = done.stdout.splitlines()
    assert first == f"bears {bundle.version}: black, grizzly, teddys"
    rows = [f"{what}: {how}" for what, how in in_words(bundle.card)]
    assert rest[: len(rows)] == rows
    assert last == f"{len(bundle.golden)} golden photos agree within {bundle.tolerance:g}."
    for golden in bundle.golden:
        assert f"golden/{golden.path.name}: differs by " in done.stdout


def test_check_replays_all_and_names_the_first_that_disagrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles.copy(tmp_path)
    files = sorted(path.name for path in (bundle / "golden").iterdir())

    def change(card: dict[str, Any]) -> None:
        for number in (1, 3):
            card["golden"]["photos"][number]["probabilities"] = {"black": 0.3, "grizzly": 0.3, "teddys": 0.4}

    bundles.change_card(bundle, change)
    assert main(["check", str(bundle)]) == 3
    printed = capsys.readouterr()
    golden = [line for line in printed.out.splitlines() if line.startswith("golden/")]
    assert [line.split(":")[0] for line in golden] == [f"golden/{name}" for name in files]
    assert [line.endswith("DISAGREES") for line in golden] == [False, True, False, True, False, False]
    assert f"2 of {len(files)} golden photos disagree." in printed.out
    assert f"Golden photo {bundle / 'golden' / files[1]} gives" in printed.err


def test_check_of_a_tampered_bundle_is_exit_code_3(tampered: Path) -> None:
    done = run("check", tampered)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"{tampered / WEIGHTS} was changed: its sha256 is not the one in {CARD}.\n"


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    """A card with a change to it, as bytes; its version does not fit, but it must be understood to see that."""

    def edit(card: dict[str, Any]) -> bytes:
        change(card)
        return json.dumps(card).encode()

    return edit


RUBBISH: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "brackets": lambda _: b"[" * 200_000,
    "numbers": lambda _: b"9" * 10_000,
    "files is a list": edited(lambda card: card.update(files=list(card["files"]))),
    "files has words": edited(lambda card: card["files"].update({WEIGHTS: "all of them"})),
    "files lacks a size": edited(lambda card: card["files"][WEIGHTS].pop("bytes")),
    "a NUL in a name": edited(lambda card: card["files"].update({"a\0b": card["files"][WEIGHTS]})),
    "an endless name": edited(lambda card: card["files"].update({"a" * 5000: card["files"][WEIGHTS]})),
    "a golden photo that is a number": edited(lambda card: card["golden"]["photos"][0].update(file=7)),
    "preprocess is a word": edited(lambda card: card.update(preprocess="centre crop")),
    "an unknown step": edited(lambda card: card["preprocess"].update(sharpen=True)),
    "a mean of two": edited(lambda card: card["preprocess"].update(mean=[0.5, 0.5])),
    "classes is a number": edited(lambda card: card.update(classes=3)),
    "a tolerance in words": edited(lambda card: card["golden"].update(tolerance="none")),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_check_of_a_card_of_rubbish(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    card = json.loads((BEARS / CARD).read_text())
    bundle = tmp_path / "bears"
    bundle.mkdir()
    for path in BEARS.iterdir():
        (bundle / path.name).symlink_to(path)
    (bundle / CARD).unlink()
    (bundle / CARD).write_bytes(RUBBISH[name](card))
    assert main(["check", str(bundle)]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    (sentence,) = printed.err.splitlines()
    assert sentence.startswith(str(bundle / CARD))
    assert sentence.endswith(".")


# as a careful forger would: version and hashes fit
FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a size in words": lambda card: card["preprocess"].update(size="224"),
    "a smaller size": lambda card: card["preprocess"].update(size=112, resize=128),
    "no size": lambda card: card["preprocess"].update(size=0),
    "a huge size": lambda card: card["preprocess"].update(size=10**9),
    "other resampling": lambda card: card["preprocess"].update(interpolation="bicubic"),
    "no antialiasing": lambda card: card["preprocess"].update(antialias=False),
    "a temperature of 0": lambda card: card.update(calibration={"temperature": 0}),
    "a golden photo that is none": lambda card: card["golden"]["photos"][0].update(file="model.onnx"),
}


@pytest.mark.parametrize("name", FORGED)
def test_check_of_a_forged_card(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    bundle = bundles.copy(tmp_path)
    bundles.change_card(bundle, FORGED[name])
    assert main(["check", str(bundle)]) == 3
    (sentence,) = capsys.readouterr().err.splitlines()
    assert str(bundle) in sentence


WRONG_USE: list[list[str]] = [
    [],
    ["sing"],
    ["classify"],
    ["classify", "--json", "--csv", "a.jpg"],
    ["classify", "--port", "80", "a.jpg"],
    ["check"],
    ["check", "a", "b"],
    ["serve", "models/bears"],
]


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m app" in capsys.readouterr().err


def test_without_a_command() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_the_model_of_the_environment_is_used(
    tmp_path: Path, photos: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles.copy(tmp_path)
    bundles.change_card(bundle, lambda card: card.update(name="cubs"))
    monkeypatch.setenv("TELLAPART_MODEL", str(bundle))
    names = []
    for flags in ([], ["--model", str(BEARS)]):
        assert main(["classify", "--json", *flags, str(photos[0])]) == 0
        names.append(json.loads(capsys.readouterr().out)[0]["model"]["name"])
    assert names == ["cubs", "bears"]


def test_a_broken_model_of_the_environment_is_exit_code_3(
    tampered: Path, photos: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELLAPART_MODEL", str(tampered))
    assert main(["classify", str(photos[0])]) == 3
    assert "was changed" in capsys.readouterr().err


def test_a_bad_setting_of_the_environment_is_exit_code_2(
    photos: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELLAPART_THREADS", "zero")
    assert main(["classify", str(photos[0])]) == 2
    assert "TELLAPART_THREADS is 'zero'" in capsys.readouterr().err
