"""Settings: where a value comes from, what is refused and in which words, and that README lists each."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from app.__main__ import build_parser
from app.errors import SettingError
from app.settings import ROOT, Settings, add_flags, build

REPOSITORY = Path(__file__).parent.parent

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "model": REPOSITORY / "models" / "bears",
    "engine": "openvino",
    "threads": None,
    "max_upload_mb": 20,
    "max_pixels_mp": 50,
    "url_hosts": "public",
    "url_timeout_s": 5,
    "body_timeout_s": 60,
    "request_timeout_s": 10,
    "max_waiting": None,
    "cors_origins": (),
    "feedback_dir": None,
    "feedback_max_mb": 500,
    "log_format": "text",
    "traces": "none",
    "drain_s": 20,
    "api_key_file": None,
    "api_key": "",
}
FLAGS = [name for name in DEFAULTS if name != "api_key"]


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    return "TELLAPART_" + name.upper()


def read(*flags: str, **environ: str) -> Settings:
    """Settings as the command serve reads them: its own flags, and a given environment."""
    return build(vars(build_parser().parse_args(["serve", *flags])), environ)


def test_defaults() -> None:
    assert dataclasses.asdict(read()) == DEFAULTS


# name, a value for the flag and what it becomes, another for the variable and what it becomes
VALUES = [
    ("host", "0.0.0.0", "0.0.0.0", " ::1 ", "::1"),
    ("port", "1", 1, "65535", 65535),
    ("model", "models/cats", Path("models/cats"), "/srv/dogs", Path("/srv/dogs")),
    ("engine", "torch", "torch", "openvino", "openvino"),
    ("threads", "1", 1, "256", 256),
    ("max_upload_mb", "0.001", 0.001, "1000", 1000),
    ("max_pixels_mp", "0.001", 0.001, "1000", 1000),
    ("url_hosts", "none", "none", "minio:9000,*.example.org", "minio:9000,*.example.org"),
    ("url_timeout_s", "0.05", 0.05, "300", 300),
    ("body_timeout_s", "0.05", 0.05, "3600", 3600),
    ("request_timeout_s", "0.05", 0.05, "300", 300),
    ("max_waiting", "0", 0, "100000", 100_000),
    ("cors_origins", "https://a.example", ("https://a.example",), "http://b:1, http://c", ("http://b:1", "http://c")),
    ("feedback_dir", "kept", Path("kept"), "/srv/kept", Path("/srv/kept")),
    ("feedback_max_mb", "0.001", 0.001, "1000000", 1_000_000),
    ("log_format", "json", "json", "text", "text"),
    ("traces", "otlp", "otlp", "none", "none"),
    ("drain_s", "0", 0, "300", 300),
]


@pytest.mark.parametrize(("name", "text", "value", "other_text", "other_value"), VALUES)
def test_flag_beats_variable_beats_default(
    name: str, text: str, value: object, other_text: str, other_value: object
) -> None:
    """The values are also both edges of every range."""
    assert getattr(read(flag(name), text), name) == value
    assert getattr(read(**{variable(name): other_text}), name) == other_value
    assert getattr(read(flag(name), text, **{variable(name): other_text}), name) == value


def test_every_setting_with_a_range_is_in_the_table() -> None:
    assert [name for name, *_ in VALUES] == [name for name in FLAGS if name != "api_key_file"]


@pytest.mark.parametrize("name", ["threads", "max_waiting"])
def test_auto_undoes_a_variable(name: str) -> None:
    assert getattr(read(flag(name), "auto", **{variable(name): "7"}), name) is None


@pytest.mark.parametrize("name", [name for name in FLAGS if name != "api_key_file"])
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    assert getattr(read(**{variable(name): ""}), name) == DEFAULTS[name]


PORTS = [
    ({}, 8000),
    ({"PORT": "9001"}, 9001),
    ({"TELLAPART_PORT": "9002"}, 9002),
    ({"TELLAPART_PORT": "9002", "PORT": "9001"}, 9002),
    ({"TELLAPART_PORT": "", "PORT": "9001"}, 9001),
    ({"TELLAPART_PORT": "", "PORT": ""}, 8000),
]


@pytest.mark.parametrize(("environ", "port"), PORTS)
def test_port_falls_back_to_port(environ: dict[str, str], port: int) -> None:
    assert read(**environ).port == port
    assert read("--port", "9003", **environ).port == 9003


BAD = [
    ("host", " ", "an address such as 127.0.0.1"),
    ("port", "0", "a whole number from 1 to 65535"),
    ("port", "65536", "a whole number from 1 to 65535"),
    ("port", "80.5", "a whole number from 1 to 65535"),
    ("port", "http", "a whole number from 1 to 65535"),
    ("engine", "tensorflow", "one of openvino, torch"),
    ("threads", "0", "a whole number from 1 to 256, or auto"),
    ("threads", "257", "a whole number from 1 to 256, or auto"),
    ("threads", "many", "a whole number from 1 to 256, or auto"),
    ("max_upload_mb", "0", "a number from 0.001 to 1000"),
    ("max_upload_mb", "1000.1", "a number from 0.001 to 1000"),
    ("max_upload_mb", "20MB", "a number from 0.001 to 1000"),
    ("max_upload_mb", "nan", "a number from 0.001 to 1000"),
    ("max_pixels_mp", "inf", "a number from 0.001 to 1000"),
    ("max_pixels_mp", "-1", "a number from 0.001 to 1000"),
    ("url_hosts", "http://minio", "public, none, or a list"),
    ("url_hosts", "minio:99999", "ports from 1 to 65535"),
    ("url_timeout_s", "0.04", "a number from 0.05 to 300"),
    ("url_timeout_s", "301", "a number from 0.05 to 300"),
    ("body_timeout_s", "0.04", "a number from 0.05 to 3600"),
    ("body_timeout_s", "3601", "a number from 0.05 to 3600"),
    ("request_timeout_s", "0", "a number from 0.05 to 300"),
    ("request_timeout_s", "301", "a number from 0.05 to 300"),
    ("max_waiting", "-1", "a whole number from 0 to 100000, or auto"),
    ("max_waiting", "100001", "a whole number from 0 to 100000, or auto"),
    ("cors_origins", "example.org", "origins such as https://example.org"),
    ("cors_origins", "https://example.org/page", "origins such as https://example.org"),
    ("cors_origins", "*", "origins such as https://example.org"),
    ("log_format", "xml", "one of text, json"),
    ("traces", "on", "one of none, otlp"),
    ("drain_s", "-1", "a number from 0 to 300"),
    ("drain_s", "301", "a number from 0 to 300"),
    ("api_key_file", "/nowhere/key", "a file"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), BAD)
def test_a_bad_value_names_its_source_and_what_it_wants(name: str, text: str, wanted: str) -> None:
    with pytest.raises(SettingError) as by_flag:
        read(f"{flag(name)}={text}")
    with pytest.raises(SettingError) as by_variable:
        read(**{variable(name): text})
    for raised, source in ((by_flag, flag(name)), (by_variable, variable(name))):
        sentence = str(raised.value)
        assert sentence.startswith(source + " ")
        assert repr(text) in sentence
        assert wanted in sentence
        assert "\n" not in sentence


def test_a_bad_fallback_port_is_named_port() -> None:
    with pytest.raises(SettingError, match=r"^PORT is 'eighty': it must be a whole number"):
        read(PORT="eighty")


def test_api_key_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("  s3cret \n")
    assert read(flag("api_key_file"), str(path)).api_key == "s3cret"
    assert read(TELLAPART_API_KEY_FILE=str(path)).api_key == "s3cret"
    assert read(flag("api_key_file"), str(path), TELLAPART_API_KEY="other").api_key == "s3cret"


def test_api_key_from_the_environment_alone() -> None:
    assert read(TELLAPART_API_KEY="s3cret").api_key == "s3cret"


def test_no_flag_takes_the_key_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """`ps` would show it; nor is it taken for an abbreviated --api-key-file."""
    with pytest.raises(SystemExit) as ended:
        read("--api-key=s3cret")
    assert ended.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


KEY_FILES = {"empty": b"", "blank": b" \n", "not text": b"\xff\xfe\x00"}


@pytest.mark.parametrize("content", KEY_FILES.values(), ids=KEY_FILES)
def test_a_useless_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"^--api-key-file .* must be a file"):
        read(flag("api_key_file"), str(path))
    with pytest.raises(SettingError, match=r"^TELLAPART_API_KEY_FILE .* must be a file"):
        read(TELLAPART_API_KEY_FILE=str(path))


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().port = 1  # type: ignore[misc]


def test_every_flag_has_a_help_text_and_shows_its_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    helps = {action.option_strings[-1]: action.help or "" for action in parser._actions}
    assert sorted(helps) == sorted(["--help", *map(flag, FLAGS)])
    shown = {
        "host": "127.0.0.1",
        "port": "8000",
        "model": "models/bears",
        "threads": "auto",
        "cors_origins": "none",
        "drain_s": "20",
        "api_key_file": "none",
    }
    for name, default in shown.items():
        assert re.fullmatch(rf"\w.{{20,}} \[{re.escape(default)}\]", helps[flag(name)])


def test_the_bundled_model_stands_beside_the_app() -> None:
    assert ROOT == REPOSITORY
    assert all((ROOT / name).is_dir() for name in ("static", "templates", "models/bears"))


@pytest.mark.parametrize("name", DEFAULTS)
def test_readme_lists_every_setting(name: str) -> None:
    text = (REPOSITORY / "README.md").read_text()
    listed = flag(name) if name in FLAGS else variable(name)
    assert re.search(rf"(?<![\w-]){listed}(?![\w-])", text), f"README.md does not tell of {listed}"
