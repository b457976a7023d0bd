"""Decodes in a process of its own, so that one that dies of a photo is seen, with the photo.

`python -m tests.attacks.decoding files` reads paths from stdin, and answers each with a line of JSON.
`python -m tests.attacks.decoding mutations NAME COUNT FOLDER` leaves the mutation at work in FOLDER/at-work.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.worst import Seen, observe
from tests.drawings import bear
from tests.photos import encode

SIZE = (60, 44)
FINE = ("answered", "broken_image", "not_an_image", "too_many_pixels")


def animation(kind: str, **options: object) -> bytes:
    frames = [bear("black", n, SIZE) for n in range(3)]
    frames = [frame.quantize(16) for frame in frames] if kind == "GIF" else frames
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def subjects() -> dict[str, bytes]:
    """A small photo of each format, with the parts that its files may have."""
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn, known = bear("grizzly", 1, SIZE), {"exif": exif.tobytes(), "icc_profile": bytes(200)}
    ghost = drawn.copy()
    ghost.putalpha(Image.linear_gradient("L").resize(SIZE))
    return {
        "JPEG": encode(drawn, "JPEG", **known),
        "JPEG progressive": encode(drawn, "JPEG", progressive=True, **known),
        "JPEG CMYK": encode(drawn.convert("CMYK"), "JPEG"),
        "PNG": encode(ghost, "PNG", **known),
        "PNG palette": encode(drawn.quantize(32), "PNG", transparency=bytes(range(32))),
        "PNG animated": animation("PNG"),
        "WEBP": encode(drawn, "WEBP", **known),
        "WEBP lossless": encode(ghost, "WEBP", lossless=True),
        "WEBP animated": animation("WEBP"),
        "GIF": animation("GIF"),
        "BMP": encode(drawn, "BMP"),
        "BMP palette": encode(drawn.quantize(32), "BMP"),
        "AVIF": encode(ghost, "AVIF", speed=10, **known),
        "AVIF animated": animation("AVIF", speed=10),
    }


def mutated(data: bytes, edits: list[tuple[int, str, int]]) -> bytes:
    """Each edit: a place, what to do there, and a number to do it with."""
    found = bytearray(data)
    for place, what, number in edits:
        at = place % max(1, len(found))
        length = 1 + number % 64
        if what == "flip":
            found[at : at + 1] = bytes(b ^ 1 << number % 8 for b in found[at : at + 1])
        elif what == "set":
            found[at : at + 1] = bytes((number % 256,))
        elif what == "extreme":
            found[at : at + 4] = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\xff\x7f\0\0")[number % 4]
        elif what == "cut":
            del found[at : at + length]
        elif what == "repeat":
            found[at:at] = found[at : at + length] * (1 + number % 9)
        else:
            del found[at:]
    return bytes(found)


def mended(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks put right, so that more than the checksums is tested."""
    out, position = bytearray(data), 8
    while position + 12 <= len(out):
        end = position + 8 + struct.unpack_from(">I", out, position)[0]
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[position + 4 : end]))
        position = end + 4
    return bytes(out)


def edits(length: int) -> st.SearchStrategy[list[tuple[int, str, int]]]:
    """Up to eight edits, half of them in the head of the file, where it says what it is."""
    place = st.one_of(st.integers(0, min(200, length - 1)), st.integers(0, length - 1))
    what = st.sampled_from(("flip", "flip", "set", "set", "extreme", "cut", "repeat", "end"))
    return st.lists(st.tuples(place, what, st.integers(0, 255)), min_size=1, max_size=8)


def mutations(name: str, count: int, folder: Path) -> None:
    """Decode `count` mutations, the same ones every time; prints how each ended. Whatever else comes out is raised."""
    data, endings, most = subjects()[name], dict.fromkeys(FINE, 0), Seen("", 0, 0)

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(edits(len(data)), st.booleans())
    def run(changes: list[tuple[int, str, int]], mend: bool) -> None:
        nonlocal most
        broken = mutated(data, changes)
        broken = mended(broken) if mend and name.startswith("PNG") else broken
        (folder / "at-work").write_bytes(broken)
        seen = observe(broken)
        endings[seen.verdict] += 1
        most = Seen("", max(most.cpu_s, seen.cpu_s), max(most.grown_mb, seen.grown_mb))

    run()
    print(json.dumps({"endings": endings, "cpu_s": most.cpu_s, "grown_mb": most.grown_mb}))


def files() -> None:
    """Decode each file named on stdin."""
    observe(encode(bear("black", 0, SIZE), "PNG"))  # imports and warm-up
    for line in sys.stdin:
        print(json.dumps(observe(Path(line.rstrip("\n")).read_bytes()).__dict__), flush=True)


if __name__ == "__main__":
    sys.stderr = io.TextIOWrapper(sys.stderr.buffer, line_buffering=True)
    warnings.simplefilter("ignore", DeprecationWarning)
    files() if sys.argv[1] == "files" else mutations(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
