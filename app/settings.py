"""The service's settings: one frozen dataclass, built once. A flag beats a TELLAPART_* variable beats the default."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.errors import SettingError
from app.fetch import HostPolicy

PACKAGE = Path(__file__).parent
# static/, templates/ and models/ stand beside app/ in a checkout and inside it in an installed wheel.
ROOT = PACKAGE if (PACKAGE / "static").is_dir() else PACKAGE.parent


def option(default: Any, help_text: str, parse: Callable[[str], Any], variable: str = "") -> Any:
    """A field of Settings; `parse` turns text into the value or raises ValueError saying what it wants.

    A field with a `variable` of its own has no flag.
    """
    return field(default=default, metadata={"help": help_text, "parse": parse, "variable": variable})


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    """A parser for numbers from `low` to `high`, both included."""
    word = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise ValueError(f"must be {word} from {low:g} to {high:g}")
        return value

    return parse


def auto_or(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser that also takes `auto`, which stands as None."""

    def parse_auto(text: str) -> Any:
        if text == "auto":
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from error

    return parse_auto


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser for a fixed set of words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def origins(text: str) -> tuple[str, ...]:
    """A parser for web origins, comma-separated: https://example.org,http://localhost:3000."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in found:
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or not rest or "/" in rest:
            raise ValueError("must be origins such as https://example.org, comma-separated")
    return found


def host(text: str) -> str:
    """A parser for an address to listen on; an empty one would be all of them."""
    if not text.strip():
        raise ValueError("must be an address such as 127.0.0.1, or 0.0.0.0 for all")
    return text.strip()


def host_policy(text: str) -> str:
    """A parser that keeps the text, once HostPolicy can read it."""
    try:
        HostPolicy.parse(text)
    except SettingError as error:
        raise ValueError(str(error)) from error
    return text


@dataclass(frozen=True)
class Settings:
    """Everything an operator can set. Sizes in the unit that the name ends with."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 for all (the container sets this)", host)
    port: int = option(8000, "port to listen on (TELLAPART_PORT, else PORT)", number(int, 1, 65535))
    model: Path = option(ROOT / "models" / "bears", "folder of the bundle to serve, or a link to one", Path)
    engine: str = option(
        "openvino", "openvino, or torch (reference; needs the train extra)", one_of("openvino", "torch")
    )
    threads: int | None = option(
        None, "photos inferred at once, on a core each; auto: one per usable core", auto_or(number(int, 1, 256))
    )
    max_upload_mb: float = option(20.0, "largest request body, in megabytes", number(float, 0.001, 1000))
    max_pixels_mp: float = option(
        50.0,
        "largest photo, in megapixels; those that take more memory or time a pixel have lower limits of their own",
        number(float, 0.001, 1000),
    )
    url_hosts: str = option(
        "public",
        "where /classify-url may fetch from: public, none, or a list such as minio:9000,*.example.org",
        host_policy,
    )
    url_timeout_s: float = option(5.0, "longest fetch of a URL, in seconds", number(float, 0.05, 300))
    body_timeout_s: float = option(60.0, "longest upload of a request body, in seconds", number(float, 0.05, 3600))
    request_timeout_s: float = option(
        10.0, "from the body's last byte to the answer, in seconds", number(float, 0.05, 300)
    )
    max_waiting: int | None = option(
        None,
        "requests that may wait for a thread; auto: 20 for each of --threads; more get 503",
        auto_or(number(int, 0, 100_000)),
    )
    cors_origins: tuple[str, ...] = option(
        (), "other web origins whose pages may call the API, comma-separated", origins
    )
    feedback_dir: Path | None = option(None, "folder that keeps what is sent to /feedback, which is off without", Path)
    feedback_max_mb: float = option(500.0, "most that is kept there, in megabytes", number(float, 0.001, 1_000_000))
    log_format: str = option("text", "lines of the log: text, or json for programs", one_of("text", "json"))
    traces: str = option(
        "none",
        "spans of requests: none, or otlp: to the collector that OTEL_* variables name (needs the traces extra)",
        one_of("none", "otlp"),
    )
    drain_s: float = option(20.0, "longest wait for running requests on SIGTERM, in seconds", number(float, 0, 300))
    api_key_file: Path | None = option(None, "file with the key that guards the API (or TELLAPART_API_KEY)", Path)
    api_key: str = option(
        "", "the key that guards the API; no flag: `ps` would show it", str.strip, "TELLAPART_API_KEY"
    )


def add_flags(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Give `parser` the flags of all settings, or of those named."""
    for item in fields(Settings):
        if not item.metadata["variable"] and (names is None or item.name in names):
            flag, unit = "--" + item.name.replace("_", "-"), item.name.rsplit("_", 1)[-1].upper()
            parser.add_argument(flag, metavar=unit, help=f"{item.metadata['help']} [{shown_default(item)}]")


def shown_default(item: Field[Any]) -> str:
    """A default as a person would type it."""
    if isinstance(item.default, Path):
        return str(item.default.relative_to(ROOT))
    if item.default is None:
        return "none" if item.name in ("api_key_file", "feedback_dir") else "auto"
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default or "none")


def build(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and variables. Raises SettingError naming the flag or variable and what it wants."""
    values, sources = {}, {}
    for item in fields(Settings):
        source, text = _source(item.name, item.metadata["variable"], flags, environ)
        if text is None:
            continue
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            raise SettingError(f"{source} is {text!r}: it {error}.") from error
        sources[item.name] = source
    settings = Settings(**values)
    if settings.api_key_file is None:
        return settings
    return replace(settings, api_key=_read_key(settings.api_key_file, sources["api_key_file"]))


def _source(
    name: str, variable: str, flags: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[str, str | None]:
    flag = flags.get(name)
    if flag is not None:
        return "--" + name.replace("_", "-"), flag
    variable = variable or "TELLAPART_" + name.upper()
    if name == "port" and not environ.get(variable):
        variable = "PORT"
    return variable, environ.get(variable) or None


def _read_key(path: Path, source: str) -> str:
    """The key in a file, without white space around it. Raises SettingError, without a word of what the file holds."""
    try:
        key = path.read_text().strip()
    except (OSError, ValueError):
        key = ""
    if not key:
        raise SettingError(f"{source} is {str(path)!r}: it must be a file that can be read and holds the key.")
    return key
