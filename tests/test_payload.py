"""JSON objects and photos in base64, as requests of other APIs hold them."""

from __future__ import annotations

import base64
import os
import textwrap

import pytest

from app.errors import Refusal
from app.payload import MOST_BYTES, MOST_COMMAS, MOST_MARKS, MOST_UNICODE, PIECE, photo_of, read_object
from tests.wire import TEDDY

PACKED = base64.b64encode(TEDDY)


def test_an_object_is_read() -> None:
    assert read_object(b' {"a": [1]} ') == {"a": [1]}


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"forged"', b"", b'{"forged"}', b'{"a": 1e}', b"\xff\xd8\xff"])
def test_what_is_no_object_is_refused_in_words_of_ours(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_object(data)
    assert caught.value.code == "bad_request"
    assert caught.value.message.startswith("The request is no")
    assert caught.value.message.endswith(".")
    assert "forged" not in caught.value.message


@pytest.mark.parametrize(
    ("mark", "most"), [(b",", MOST_COMMAS), (b"[", MOST_MARKS), (b"{", MOST_MARKS), (b'"', MOST_MARKS)]
)
def test_parts_are_counted_before_they_are_read(mark: bytes, most: int) -> None:
    with pytest.raises(Refusal, match="too much JSON: send tensors in binary"):
        read_object(mark * (most + 1))
    with pytest.raises(Refusal, match="not JSON"):
        read_object(mark * most)


@pytest.mark.parametrize(
    ("filling", "most"), [(b" ", MOST_BYTES), (b"\xc3\xa9", MOST_UNICODE), (b"\\u20ac", MOST_UNICODE)]
)
def test_its_length_is_bounded_whatever_an_upload_may_have(filling: bytes, most: int) -> None:
    with pytest.raises(Refusal, match="too large: photos in it are in base64"):
        read_object(filling * (most // len(filling) + 1))
    with pytest.raises(Refusal, match="not JSON"):
        read_object(filling * (most // len(filling)))


def test_base64_may_be_written_with_escapes() -> None:
    text = b'{"a": "%s"}' % (b"\\u002b" * MOST_UNICODE)
    assert read_object(text) == {"a": "+" * MOST_UNICODE}


def lists(shape: tuple[int, ...]) -> bytes:
    """Noughts in JSON, in lists of lists of that shape."""
    within = b"0"
    for length in reversed(shape):
        within = b"[" + b",".join([within] * length) + b"]"
    return within


@pytest.mark.parametrize("shape", [(16 * 224 * 224 * 3,), (4, 224, 224, 3)])
def test_16_photos_fit_as_numbers_and_4_in_lists_of_lists(shape: tuple[int, ...]) -> None:
    pixels = lists(shape)
    assert len(read_object(b'{"data": %s}' % pixels)["data"]) == shape[0]
    with pytest.raises(Refusal, match="too much JSON"):
        read_object(b'{"data": [%s, %s]}' % (pixels, pixels))


@pytest.mark.parametrize(
    "data",
    [TEDDY, PACKED, textwrap.fill(PACKED.decode(), 76).encode(), PACKED.replace(b"A", b"\r\n A\t"), PACKED + b"\n"],
    ids=["as it is", "base64", "lines", "spaces", "a line's end"],
)
def test_a_photo_is_found_as_it_is_or_in_base64(data: bytes) -> None:
    assert photo_of(data) == TEDDY


@pytest.mark.parametrize("size", [PIECE * 3 // 4 - 1, PIECE * 3 // 4, PIECE * 3 // 4 + 1, 3 * PIECE])
def test_a_long_one_is_decoded_in_pieces(size: int) -> None:
    data = os.urandom(size)
    assert photo_of(base64.b64encode(data)) == data
    assert photo_of(base64.encodebytes(data)) == data


@pytest.mark.parametrize("data", [b"text", b"<svg>", PACKED[:-1], PACKED + b"=", b"\xff" + PACKED, b"="])
def test_what_is_neither_comes_back_or_is_no_photo(data: bytes) -> None:
    assert photo_of(data) in (data, base64.b64decode(b"text"))


def test_nothing_is_nothing() -> None:
    assert photo_of(b"") == b""
