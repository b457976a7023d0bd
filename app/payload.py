"""What requests carry beside plain bytes: JSON, and photos in base64. Pure; bounds what either may cost."""

from __future__ import annotations

import binascii
from typing import Any

from app import strict_json
from app.errors import Refusal
from app.formats import sniff

# Of JSON: as many commas as 16 photos of 224 × 224 pixels have as numbers, as many lists, objects and quotes as 4 have
# in lists of lists. That many hold all other threads for 20 ms at most, when they are made or forgotten.
MOST_COMMAS = 2_500_000
MOST_BYTES = 30_000_000  # whatever an upload may have: one text of 100 MB holds them for 72 ms
MOST_UNICODE = 1_000_000  # of JSON with anything but ASCII in it, whose texts take up to 4 bytes a character
MOST_MARKS = 250_000
PIECE = 1 << 18  # characters of base64 decoded at a time, which holds all other threads for less than 1 ms
SPACE = b" \t\r\n"  # the tool `base64` breaks lines


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object that these bytes are. Raises Refusal("bad_request")."""
    # escapes of + and =, which some programs write, are ASCII too
    wide = not data.isascii() or data.count(b"\\u") > data.count(b"\\u00")
    if len(data) > MOST_BYTES or (len(data) > MOST_UNICODE and wide):
        raise Refusal("bad_request", "This JSON is too large: photos in it are in base64, and that is ASCII.")
    if data.count(b",") > MOST_COMMAS or sum(data.count(mark) for mark in (b"[", b"{", b'"')) > MOST_MARKS:
        raise Refusal("bad_request", "This is too much JSON: send tensors in binary, and photos as they are.")
    try:
        found = strict_json.loads(data, MOST_COMMAS + MOST_MARKS)
    except ValueError as error:
        raise Refusal("bad_request", f"The request is {str(error).rstrip('.')}.") from error
    if not isinstance(found, dict):
        raise Refusal("bad_request", "The request is no JSON object.")
    return found


def photo_of(data: bytes) -> bytes:
    """A photo as it is, or out of base64 (with + and /) if that is what it is in; what is neither comes back as it is.

    No photo's first bytes are base64.
    """
    if sniff(data) is not None:
        return data
    packed = b"".join(data[at : at + PIECE].translate(None, SPACE) for at in range(0, len(data), PIECE))
    try:
        pieces = (packed[at : at + PIECE] for at in range(0, len(packed), PIECE))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except binascii.Error:
        return data
