"""Bundles made by an attacker: refused with one sentence, with nothing outside opened, no time and no memory spent.

What its graph can do is in test_bundles_graph.py, what mere damage does in tests/test_bundle.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from app.bundle import float_weights
from app.card import CARD, GRAPH, MOST_CARD_BYTES, MOST_CLASSES, WEIGHTS, check_classes
from app.classifier import load_classifier
from bench.hostile import bombs
from tests import bundles
from tests.attacks.hostile import Canary, forge, header_of, put, refusal, tensors
from tests.live import ROOT, clean_env, free_port, live_service
from tests.test_reload_signals import hang_up
from tests.wire import TEDDY, get, post, until

Change = Callable[[dict[str, Any]], object]
END_S = 60  # a hang guard: refusing takes a fraction of a second


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped tensors, once for all copies: 21 MB."""
    path = tmp_path_factory.mktemp("kept") / WEIGHTS
    shutil.copy(bundles.SHIPPED / WEIGHTS, path)
    yield path
    path.unlink()


@pytest.fixture
def bundle(tmp_path: Path, kept: Path) -> Path:
    """A copy of the shipped bundle; its tensors are to be replaced, not written to."""
    folder = shutil.copytree(bundles.SHIPPED, tmp_path / "bears", ignore=shutil.ignore_patterns(WEIGHTS))
    os.link(kept, folder / WEIGHTS)
    return folder


def first(card: dict[str, Any]) -> dict[str, Any]:
    """The card's first golden photo."""
    photo: dict[str, Any] = card["golden"]["photos"][0]
    return photo


def classes(*names: object) -> Change:
    """These instead of the three classes, in the golden answers too where they can be."""

    def change(card: dict[str, Any]) -> None:
        card["classes"] = list(names)
        for photo in card["golden"]["photos"]:
            photo["probabilities"] = {str(name): 1 / len(names) for name in names}

    return change


def at(*path: str | int, value: object) -> Change:
    """That value at that place in the card."""

    def change(card: Any) -> None:
        for key in path[:-1]:
            card = card[key]
        card[path[-1]] = value

    return change


PHOTO = ("golden", "photos", 0)
RATE = ("metrics", "validation", "f32")
NAMES = "different printable names"
NUMBER = "must be a number from"

CARDS: dict[str, tuple[Change, str]] = {
    # classes
    "composed and decomposed": (classes("b\u00e4r", "ba\u0308r", "teddys"), "look the same"),
    "a variation selector": (classes("black", "black\ufe0f", "teddys"), "look the same"),
    "full width": (classes("black", "\uff42lack", "teddys"), "look the same"),
    "a ligature": (classes("\ufb01sh", "fish", "teddys"), "look the same"),
    "spaces around": (classes("black", " black", "teddys"), "look the same"),
    "two spaces": (classes("big bear", "big  bear", "teddys"), "look the same"),
    "another space": (classes("big bear", "big\u00a0bear", "teddys"), NAMES),
    "a joiner": (classes("black", "bl\u034fack", "teddys"), "look the same"),
    "no width": (classes("black", "bl\u200back", "teddys"), NAMES),
    "from right to left": (classes("\u202ekcalb", "grizzly", "teddys"), NAMES),
    "isolated": (classes("\u2066black\u2069", "grizzly", "teddys"), NAMES),
    "a soft hyphen": (classes("bl\u00adack", "grizzly", "teddys"), NAMES),
    "a line break": (classes("a\nb", "grizzly", "teddys"), NAMES),
    "a line separator": (classes("a\u2028b", "grizzly", "teddys"), NAMES),
    "NUL": (classes("a\0b", "grizzly", "teddys"), NAMES),
    "half a character": (at("classes", 0, value="\ud800"), "surrogates"),
    "300 characters": (classes("x" * 300, "grizzly", "teddys"), NAMES),
    "100 characters of 4 bytes": (classes("\U0001f43b" * 100, "grizzly", "teddys"), NAMES),
    "blank": (classes(" ", "grizzly", "teddys"), NAMES),
    "a filler": (classes("\u3164", "grizzly", "teddys"), NAMES),
    "empty": (classes("", "grizzly", "teddys"), NAMES),
    "a verdict": (classes("none of these", "grizzly", "teddys"), "answer of the service's own"),
    "nearly a verdict": (classes("Not  sure", "grizzly", "teddys"), "answer of the service's own"),
    "one class": (classes("black"), NAMES),
    "no class": (at("classes", value=[]), NAMES),
    "a word for classes": (at("classes", value="bgt"), NAMES),
    "numbers for classes": (classes(1, 2, 3), NAMES),
    "nothing for a class": (classes(None, "grizzly", "teddys"), NAMES),
    "lists for classes": (classes(["black"], ["grizzly"], ["teddys"]), NAMES),
    "an object for classes": (at("classes", value={"black": 1, "grizzly": 2}), NAMES),
    "a million classes": (at("classes", value=[str(n) for n in range(1_000_000)]), "500,000 parts"),
    "one class more than there may be": (at("classes", value=[str(n) for n in range(MOST_CLASSES + 1)]), NAMES),
    # numbers
    **{
        f"a temperature of {value!r}": (at("calibration", value={"temperature": value}), "temperature")
        for value in (0, -1.0, 1e-300, 1e300, True, "1", None, [1], 10**400)
    },
    "a temperature that is none": (at("calibration", value={"temperature": float("nan")}), "NaN is no number"),
    "an endless temperature": (at("calibration", value={"temperature": float("inf")}), "Infinity is no number"),
    "calibration in words": (at("calibration", value="cold"), "not a complete bundle card"),
    **{
        f"a tolerance of {value!r}": (at("golden", "tolerance", value=value), "tolerance")
        for value in (0, -1, 1, True, "0.001", None)
    },
    **{
        f"a probability of {value!r}": (at(*PHOTO, "probabilities", "black", value=value), NUMBER)
        for value in (-0.1, 1.1, True, "0.5", None, 10**400)
    },
    "probabilities of 2 in all": (
        at(*PHOTO, "probabilities", value={"black": 1, "grizzly": 0.5, "teddys": 0.5}),
        "add up to 1",
    ),
    "a probability too few": (at(*PHOTO, "probabilities", value={"black": 1}), "a probability for each class"),
    "a probability too many": (at(*PHOTO, "probabilities", "panda", value=0), "a probability for each class"),
    "a list of probabilities": (at(*PHOTO, "probabilities", value=[1, 0, 0]), "not a complete bundle card"),
    # golden photos
    **{
        f"the golden photo {value!r}": (at(*PHOTO, "file", value=value), "a file in golden/")
        for value in (
            "../outside", "golden/../../outside", "golden/..", "golden/.", "golden/", "golden", "/etc/passwd",
            "golden//etc/passwd", "golden/a/b.jpg", "golden/\x1b[2J.jpg", "golden/a\0.jpg", "golden/" + "a" * 300,
            7, None, ["golden/01.jpg"], WEIGHTS,
        )
    },
    "one golden photo six times": (lambda card: card["golden"].update(photos=[first(card)] * 6), "different golden"),
    "101 golden photos": (
        lambda card: card["golden"].update(photos=[{**first(card), "file": f"golden/{n}.jpg"} for n in range(101)]),
        "6 to 100 different golden photos",
    ),
    "an object of golden photos": (at("golden", "photos", value={"file": 1}), "not a complete bundle card"),
    # files
    **{
        f"the file {value!r}": (at("files", value, value={"sha256": "0" * 64, "bytes": 1}), "which no bundle has")
        for value in (
            "../outside", "/etc/passwd", "/dev/zero", "golden/../model.json", CARD, "more.safetensors", "x\n" * 400,
        )
    },
    **{
        f"{value!r} bytes of weights": (at("files", WEIGHTS, "bytes", value=value), "size")
        for value in (10**10, 10**400, -1, 0, True, "21351668", 21351668.0, None)
    },
    "10 GB of graph": (at("files", GRAPH, "bytes", value=10**10), "size"),
    "10 GB of photo": (at("files", "golden/01.jpg", "bytes", value=10**10), "size"),
    **{
        f"the hash {value!r}": (at("files", WEIGHTS, "sha256", value=value), "not a complete bundle card")
        for value in ("", "0" * 63, "0" * 65, "G" * 64, "0" * 64 + "\n", 0, None)
    },
    "a list for a file": (at("files", WEIGHTS, value=[]), "not a complete bundle card"),
    # preprocess
    **{
        f"a size of {value!r}": (at("preprocess", "size", value=value), "not a complete bundle card")
        for value in (True, 224.0, "224", -1, 0, 257, 10**9, None)
    },
    "a size of 2048": (lambda card: card["preprocess"].update(size=2048, resize=2048), "its input is not pixels"),
    "a std of 0": (at("preprocess", "std", value=[0, 1, 1]), NUMBER),
    "a std of next to nothing": (at("preprocess", "std", value=[1e-300, 1, 1]), NUMBER),
    "a mean of truths": (at("preprocess", "mean", value=[True, True, True]), NUMBER),
    "a mean of four": (at("preprocess", "mean", value=[0, 0, 0, 0]), "three numbers"),
    "antialias 1": (at("preprocess", "antialias", value=1), "antialiased"),
    "a step with an escape code": (at("preprocess", "\x1b[31m\n", value=1), "not a complete bundle card"),
    # the rest
    **{
        f"the {key} {value!r}": (at(key, value=value), reason)
        for key, values, reason in (
            ("format", (True, 1.0, "1", None, 2), "not a bundle of format 1"),
            ("name", ("", "x" * 300, "\u202ebears", "bears\n", None, 1), "name must be printable"),
            ("precision", ("int4", "", None, [], {}), "not a complete bundle card"),
            ("about", (1, ["best"], {}), "about must be text"),
            ("metrics", (1, "none", ["f32"], {"validation": 1}, {"validation": {"f32": 1}}), "not a complete"),
            ("training", (1, {"date": 20}, {"lane": 1}, {"weights": {"name": "x"}}), "must be"),
        )
        for value in values
    },
    "errors by the escape code": (at("metrics", "validation", "\x1b[2J", value={}), "alone"),
    "an error rate in words": (at(*RATE, "error_rate", value="low"), NUMBER),
    "an interval of one": (at(*RATE, "wilson95", value=[0.1]), "not a complete bundle card"),
    "more errors than photos": (at(*RATE, "errors", value=10**6), NUMBER),
    "a class's errors in words": (at(*RATE, "per_class", "black", value={"errors": "few", "photos": 9}), NUMBER),
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_a_hostile_card(bundle: Path, canary: Canary, name: str) -> None:
    change, reason = CARDS[name]
    forge(bundle, change)
    assert reason in refusal(bundle)
    assert canary.seen() == b""


@pytest.mark.parametrize("version", ["", "5e217631a5d9\n", "5E217631A5D9", "\x1b[31m", "0" * 10_000, None, 12])
def test_a_hostile_version(bundle: Path, version: object) -> None:
    card = json.loads((bundle / CARD).read_text())
    (bundle / CARD).write_text(json.dumps({**card, "version": version}))
    assert "not a complete bundle card" in refusal(bundle)


FORMAT = '"format": 1'
TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a key twice": (lambda text: text.replace(FORMAT, f'"format": 2, {FORMAT}'), "a key twice"),
    "a key twice further in": (lambda text: text.replace('"bytes"', '"bytes": 1, "bytes"', 1), "a key twice"),
    "a number beyond numbers": (
        lambda text: text.replace(FORMAT, f'"x": 1e999, {FORMAT}'),
        "not JSON compliant",
    ),
    "a number of 5,000 digits": (
        lambda text: text.replace(FORMAT, f'"x": {9 * "9" * 999}, {FORMAT}'),
        "not JSON",
    ),
    "50,000 lists in each other": (lambda text: "[" * 50_000 + "]" * 50_000, "not JSON"),
    "21 lists in each other": (
        lambda text: text.replace(FORMAT, f'"x": {"[" * 20 + "]" * 20}, {FORMAT}'),
        "20 lists and objects in each other",
    ),
    "900 lists in each other": (
        lambda text: text.replace(FORMAT, f'"x": {"[" * 900 + "]" * 900}, {FORMAT}'),
        "not JSON of at most",
    ),
    "two million empty lists": (lambda text: '{"format": 1, "x": [' + "[]," * 2_000_000 + "[]]}", "500,000 parts"),
    "17 MB of nothing": (lambda text: text + " " * (MOST_CARD_BYTES + 1), "has more than the 16 MB"),
    "something after it": (lambda text: text + "{}", "not JSON"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text(bundle: Path, name: str) -> None:
    change, reason = TEXTS[name]
    (bundle / CARD).write_text(change((bundle / CARD).read_text()))
    assert reason in refusal(bundle)


def test_names_that_people_use_are_names() -> None:
    for names in (
        ("Cardigan", "cardigan"),
        ("熊", "パンダ"),
        ("teddy’s", "10 pence"),
        ("ours brun", "Bär"),
        ("❤️", "🐻"),
    ):
        assert check_classes(list(names)) == names
    assert len(check_classes([str(number) for number in range(MOST_CLASSES)])) == MOST_CLASSES


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def link(target: str) -> Callable[[Path, Path], object]:
    """The file replaced by a link: to itself, moved out of the bundle; or to something else."""

    def change(path: Path, outside: Path) -> None:
        path.rename(outside.with_name("moved"))
        path.symlink_to({"moved": outside.with_name("moved"), "outside": outside}.get(target, Path(target)))

    return change


def inside(path: Path, _: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def bound(path: Path, _: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(path.parent)  # the whole path would be too long for a socket's
        listening.bind(path.name)
        os.chdir(before)


REPLACED: dict[str, Callable[[Path, Path], object]] = {
    "a link to the same content": link("moved"),
    "a link to a secret": link("outside"),
    "a link to zeros without end": link("/dev/zero"),
    "a link to nowhere": link("/nowhere"),
    "a link inside the bundle": inside,
    "a pipe": lambda path, _: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
    "a socket": bound,
}


@pytest.mark.parametrize("name", [CARD, GRAPH, WEIGHTS, "golden/03.jpg"])
@pytest.mark.parametrize("what", REPLACED)
def test_what_is_no_plain_file_is_not_opened(bundle: Path, canary: Canary, name: str, what: str) -> None:
    REPLACED[what](bundle / name, canary.path)
    assert f"{bundle / name} is not a plain file" in refusal(bundle)
    assert canary.seen() == b""


def test_a_linked_folder_of_golden_photos_is_not_opened(bundle: Path, tmp_path: Path) -> None:
    (bundle / "golden").rename(tmp_path / "moved")
    watched = Canary(tmp_path / "moved/01.jpg")
    (bundle / "golden").symlink_to(tmp_path / "moved")
    assert "is not a plain file" in refusal(bundle)
    assert watched.seen() == b""
    watched.close()


def test_the_canary_tells_of_whoever_opens_it(canary: Canary) -> None:
    assert canary.seen() == b""
    canary.path.read_bytes()
    assert canary.seen() != b""


def test_a_link_to_a_bundle_is_fine(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle)
    assert load_classifier(tmp_path / "current", "openvino", 1).bundle.name == "bears"


# ── tensors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def entry(change: Change) -> Callable[[dict[str, Any], bytes], bytes]:
    """fc.weight's entry in the header changed."""

    def made(header: dict[str, Any], data: bytes) -> bytes:
        change(header["fc.weight"])
        return tensors(json.dumps(header).encode(), data)

    return made


def another(name: str, **values: object) -> Callable[[dict[str, Any], bytes], bytes]:
    """One tensor more, without numbers."""

    def made(header: dict[str, Any], data: bytes) -> bytes:
        whole = {"dtype": "F32", "shape": [0], "data_offsets": [len(data)] * 2, **values}
        return tensors(json.dumps({**header, name: whole}).encode(), data)

    return made


WEIGHT_FILES: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "a header of 2⁶³ bytes": lambda header, data: (1 << 63).to_bytes(8, "little") + data,
    "a header longer than the file": lambda header, data: (999_999).to_bytes(8, "little") + b"{}",
    "a header of 2 MB": lambda header, data: tensors(json.dumps(header).encode() + b" " * 2_000_000, data),
    "a header of lists": lambda header, data: tensors(b"[" * 90_000, data),
    "a header that is a list": lambda header, data: tensors(b"[]", data),
    "a header of words": lambda header, data: tensors(b'{"fc.weight": "large"}', data),
    "a name twice": lambda header, data: tensors(json.dumps(header).encode().replace(b'"scale"', b'"shift"'), data),
    "nothing": lambda header, data: b"",
    "a giant tensor": entry(lambda found: found.update(shape=[3, 1 << 40])),
    "a tensor beyond numbers": entry(lambda found: found.update(shape=[1 << 62, 1 << 62])),
    "a tensor beyond the file": entry(lambda found: found.update(data_offsets=[0, 10**12])),
    "a tensor before the file": entry(lambda found: found.update(data_offsets=[-8, 0])),
    "tensors on top of each other": entry(lambda found: found.update(data_offsets=[0, 3 * 512 * 4])),
    "an unknown kind of number": entry(lambda found: found.update(dtype="F7")),
    "a kind of number that numpy lacks": entry(lambda found: found.update(dtype="BF16", shape=[6, 512])),
    "a name with an escape code": another("\x1b[2J"),
    "a name without an end": another("x" * 1000),
    "a tensor of 100 dimensions": another("x", shape=[0] * 100),
    "a tensor of nothing by 2⁶³": another("x", shape=[0, (1 << 63) - 1]),
}


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_hostile_tensors(bundle: Path, name: str) -> None:
    put(bundle, WEIGHTS, WEIGHT_FILES[name](*header_of(bundle)))
    assert str(bundle / WEIGHTS) in refusal(bundle) or name == "nothing"


@pytest.mark.parametrize("name", ["scale", "shift"])
def test_a_normalisation_of_another_size(bundle: Path, name: str) -> None:
    header, data = header_of(bundle)
    end = max(found["data_offsets"][1] for found in header.values())
    header[f"old {name}"] = header.pop(name)
    header[name] = {"dtype": "F32", "shape": [7], "data_offsets": [end, end + 28]}
    put(bundle, WEIGHTS, tensors(json.dumps(header).encode(), data + bytes(28)))
    assert "another mean or std" in refusal(bundle)


def test_torch_gets_no_scales_that_make_terabytes_of_a_tensor(bundle: Path) -> None:
    header, data = header_of(bundle)
    old = header.pop("conv1.weight_scale")
    end = max(found["data_offsets"][1] for found in header.values())
    header["old"] = old
    header["conv1.weight_scale"] = {"dtype": "F32", "shape": [1_000_000], "data_offsets": [end, end + 4_000_000]}
    put(bundle, WEIGHTS, tensors(json.dumps(header).encode(), data + bytes(4_000_000)))
    with pytest.raises(ValueError, match="reshape"):
        float_weights(load_file(bundle / WEIGHTS))


# ── the whole way ─────────────────────────────────────────────────────────────────────────────────────────────────────


def sparse(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


HEAVY: dict[str, Callable[[Path], object]] = {
    "a card of 300 MB": lambda bundle: sparse(bundle / CARD, 300_000_000),
    "a card of 5 million lists": lambda bundle: (bundle / CARD).write_bytes(b"[" + b"[]," * 5_000_000 + b"[]]"),
    "a card of 15 MB of words": lambda bundle: (bundle / CARD).write_bytes(b'["ab"' + b',"ab"' * 3_000_000 + b"]"),
    "10 GB of weights, honestly told": lambda bundle: (
        sparse(bundle / WEIGHTS, 10**10),
        forge(bundle, at("files", WEIGHTS, "bytes", value=10**10)),
    ),
    "10 GB of weights, kept quiet": lambda bundle: sparse(bundle / WEIGHTS, 10**10),
    "a graph of 200 MB": lambda bundle: sparse(bundle / GRAPH, 200_000_000),
    "60 MB of tensors' names": lambda bundle: put(
        bundle, WEIGHTS, tensors(b"{" + b" " * 60_000_000 + b"}", header_of(bundle)[1])
    ),
    **{
        f"a golden photo of {name}": lambda bundle, data=data: put(bundle, "golden/01.jpg", data)
        for name, (data, _) in bombs().items()
    },
}
CHECK_ALL = """
import sys
from pathlib import Path
from app.__main__ import main

def peak_mb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3

for folder in sys.argv[1:]:
    print("PEAK", main(["check", folder]), peak_mb(), flush=True)
"""
MOST_MB = 80  # above what the shipped bundle takes


def test_heavy_bundles_take_no_memory(tmp_path: Path) -> None:
    """All of them in one process, whose peak is looked at after each."""
    folders = [tmp_path / str(number) for number in range(len(HEAVY))]
    for folder, make in zip(folders, HEAVY.values(), strict=True):
        shutil.copytree(bundles.SHIPPED, folder)
        make(folder)
    command = [sys.executable, "-c", CHECK_ALL, str(bundles.SHIPPED), *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=5 * END_S)
    for folder in folders:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    peaks = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("PEAK")]
    assert [code for code, _ in peaks] == ["0", *["3"] * len(HEAVY)]
    before, *after = (float(mb) for _, mb in peaks)
    found = dict(zip(HEAVY, after, strict=True))
    assert max(after) < before + MOST_MB, (before, found)
    sentences = done.stderr.splitlines()
    assert len(sentences) == len(HEAVY), sentences
    assert all(str(folder) in sentence for folder, sentence in zip(folders, sentences, strict=True))


def pipe(bundle: Path) -> None:
    (bundle / "golden/01.jpg").unlink()
    os.mkfifo(bundle / "golden/01.jpg")


def test_a_service_does_not_start_with_one(bundle: Path) -> None:
    pipe(bundle)
    command = [sys.executable, "-m", "app", "serve", "--port", str(free_port()), "--model", str(bundle)]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=END_S)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is not a plain file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_service_keeps_the_old_one(tmp_path: Path) -> None:
    """Each of these in turn, as a link that comes to lead to it; meanwhile and afterwards the first one answers."""
    hostile: dict[str, Callable[[Path], object]] = {
        "pipe": pipe,
        "escape": lambda bundle: forge(bundle, at("files", "../../etc/passwd", value={"sha256": "0" * 64, "bytes": 1})),
        "infinity": lambda bundle: forge(bundle, at("calibration", value={"temperature": float("inf")})),
        "heavy": HEAVY["a card of 300 MB"],
        "names": lambda bundle: forge(bundle, classes("\u202ekcalb", "grizzly", "teddys")),
    }
    for name in ("bears", *hostile):
        shutil.copytree(bundles.SHIPPED, tmp_path / name)
    bundles.point(tmp_path / "current", tmp_path / "bears")
    with live_service("--model", str(tmp_path / "current")) as live:
        for name, make in hostile.items():
            make(tmp_path / name)
            bundles.point(tmp_path / "current", tmp_path / name)
            assert hang_up(live) == "refused", name
            assert get(live, "/readyz").status_code == 200
            assert post(live, TEDDY).json()["verdict"] == "teddys"
        until(lambda: live.log.read_text().count("Reload refused") >= len(hostile))
        lines = [line for line in live.log.read_text().splitlines() if "Reload refused" in line]
        assert all("bears" in line and "stays at work" in line for line in lines)
        assert "Traceback" not in live.log.read_text()
    for name in ("bears", *hostile):
        shutil.rmtree(tmp_path / name)
