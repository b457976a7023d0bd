"""The worst photos that the service still reads: `python -m bench.worst` decodes each in a process of its own.

Each is at the limit of its kind (app/formats.py, app/structure.py). Bars: 300 MB of memory, a second of one core.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.errors import Refusal
from app.formats import MOST_BYTES, MOST_PIXELS
from app.image import MAX_PIXELS, Preprocess, model_input, read_photo
from app.settings import ROOT

ASPECT = (4, 3)
SMALL = 300  # pixels a side, of what is decoded first, so that only the photo itself is measured


def sides(pixels: float) -> tuple[int, int]:
    """Width and height in whole eights, of so many pixels or a few less."""
    width = int((pixels * ASPECT[0] / ASPECT[1]) ** 0.5) // 8 * 8
    return width, width * ASPECT[1] // ASPECT[0] // 8 * 8


def smooth(size: tuple[int, int]) -> Image.Image:
    """A picture that every encoder makes small and quickly."""
    across, down = (np.linspace(0, 255, side).astype(np.uint8) for side in size)
    red, green = np.broadcast_to(across, size[::-1]), np.broadcast_to(down[:, None], size[::-1])
    return Image.fromarray(np.dstack([red, green, red ^ green]))


def rough(size: tuple[int, int], noise: int = 12) -> Image.Image:
    """A picture full of detail."""
    chance = np.random.default_rng(0)
    coarse = Image.fromarray(chance.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR))
    return Image.fromarray(pixels ^ chance.integers(0, noise, (size[1], size[0], 1), dtype=np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of that kind."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(image.getchannel("R"))
    return image


def png(size: tuple[int, int], depth: int, colour: int, channels: int) -> bytes:
    """A PNG with the dearest of its filters in each row, interlaced; few bytes."""
    (width, height), rows = size, []
    steps = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2))
    starts = ((0, 0), (4, 0), (0, 4), (2, 0), (0, 2), (1, 0), (0, 1))
    for (x, y), (across, down) in zip(starts, steps, strict=True):
        columns, lines = -(-(width - x) // across), -(-(height - y) // down)
        rows += [b"\x04" + bytes(i * 7 % 5 for i in range(columns * channels * depth // 8))] * lines
    packed = zlib.compress(b"".join(rows), 1)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 1)
    parts = [(b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def many_scans(size: tuple[int, int], scans: int) -> bytes:
    """A progressive JPEG whose dearest scan comes again and again."""
    data = encode(rough(size), "JPEG", quality=60, progressive=True)
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    ends = [*starts[1:], len(data) - 2]
    tables = [data.rfind(b"\xff\xc4", 0, start) for start in starts]  # each scan's own Huffman table comes before it
    whole = [data[table:end] for table, end in zip(tables[1:], ends[1:], strict=True)]
    dearest = max(whole, key=len)
    return data[:-2] + dearest * (scans - len(starts)) + data[-2:]


def cases() -> dict[str, Callable[[], bytes]]:
    """Name → what makes the file."""
    webp, avif, grey, gif = (sides(MOST_PIXELS[kind]) for kind in ("WEBP", "AVIF", "PNG", "GIF"))
    return {
        "JPEG, baseline": lambda: encode(rough(sides(MAX_PIXELS)), "JPEG", quality=75),
        "JPEG, progressive": lambda: encode(rough(sides(MAX_PIXELS)), "JPEG", quality=70, progressive=True),
        "JPEG, progressive, 4:4:4": lambda: encode(
            smooth(sides(42e6)), "JPEG", quality=70, subsampling=0, progressive=True
        ),
        "JPEG, progressive, CMYK": lambda: encode(smooth(sides(31e6)).convert("CMYK"), "JPEG", progressive=True),
        "JPEG, progressive, long": lambda: encode(
            smooth((28_000, 900)), "JPEG", quality=70, subsampling=0, progressive=True
        ),
        "JPEG, 32 scans": lambda: many_scans(sides(18.7e6), 32),
        "PNG, 16 bits, alpha, interlaced": lambda: png(grey, 16, 6, 4),
        "PNG, grey, alpha": lambda: encode(with_alpha(smooth(grey)).convert("LA"), "PNG", compress_level=1),
        "PNG, 16 bits, grey": lambda: png(grey, 16, 0, 1),
        "WebP, alpha": lambda: encode(with_alpha(rough(webp, 8)), "WEBP", method=0, quality=70),
        "WebP, lossless": lambda: encode(rough(webp, 2), "WEBP", lossless=True, method=0, quality=0),
        "WebP, animated": lambda: encode(
            smooth(webp), "WEBP", save_all=True, append_images=[Image.new("RGB", webp)], method=0
        ),
        "AVIF, alpha": lambda: encode(with_alpha(rough(avif, 10)), "AVIF", speed=10, quality=80, subsampling="4:4:4"),
        "GIF, transparent": lambda: encode(smooth(gif).quantize(64), "GIF", transparency=3),
        "BMP, two colours": lambda: encode(smooth(sides(MAX_PIXELS)).convert("1"), "BMP"),
    }


def measure(data: bytes) -> dict[str, Any]:
    """What decoding takes in a fresh process: seconds of CPU, peak memory in MB beyond what it had, and what came of
    it."""
    command = [sys.executable, "-m", "bench.worst", "--one"]
    done = subprocess.run(command, input=data, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def warm_up() -> None:
    """Load every decoder, so that a photo is not charged with that."""
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"):
        decode(encode(Image.new("RGB", (SMALL, SMALL)), kind))


def decode(data: bytes) -> dict[str, Any]:
    """The whole way to the network's input: {"cpu_s", "mb", "answer": its size, or the refusal's code}."""
    preprocess = Preprocess()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, started = peak_mb(), time.process_time()
    try:
        photo = read_photo(data, enough=2 * preprocess.resize)
        pixels = model_input(photo, preprocess)
        answer = f"{photo.width} × {photo.height}" if pixels.shape == (224, 224, 3) else f"input of {pixels.shape}"
    except Refusal as refusal:
        answer = refusal.code
    return {"cpu_s": time.process_time() - started, "mb": peak_mb() - before, "answer": answer}


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def rows() -> Iterator[str]:
    """The table, a row as it comes."""
    yield "| photo | size | file, MB | CPU, s (bar 1) | memory, MB (bar 300) |\n|---|---:|---:|---:|---:|"
    for name, make in cases().items():
        data = make()
        found = measure(data)
        kind = name.split(",")[0].upper()
        over = " (over its limit)" if len(data) > MOST_BYTES.get(kind, 20_000_000) else ""
        yield f"| {name} | {found['answer']} | {len(data) / 1e6:.1f}{over} | {found['cpu_s']:.2f} | {found['mb']:.0f} |"


if __name__ == "__main__":
    if sys.argv[1:] == ["--one"]:
        warm_up()
        print(json.dumps(decode(sys.stdin.buffer.read())))
    else:
        for line in rows():
            print(line, flush=True)
