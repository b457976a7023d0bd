"""Origins that break, lie, dawdle or say too much; how many are asked at once; one fetch for all who ask meanwhile."""

import asyncio
import socket
import struct
import traceback

import httpcore2
import pytest

from app.fetch import system_resolve
from tests.test_fetch import PHOTO, PUBLIC, URL, http, in_a_loop, internet, redirect, silence

# Origins that break, lie or say too much


async def reset(writer):
    writer.write(http(PHOTO, f"Content-Length: {len(PHOTO) + 1}"))
    await writer.drain()
    no_linger = struct.pack("ii", 1, 0)  # closing now sends RST
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


FAILING = {
    **{
        status: http(b"", status=status)
        for status in ("204 No", "206 Part", "300 Many", "304 Same", "404 No", "500 Oops")
    },
    "upgrade": http(b"", "Upgrade: h2c", status="101 Switching"),
    "redirect without Location": http(b"", "A: b", status="302 Found"),
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "shorter than it says": http(PHOTO, f"Content-Length: {len(PHOTO) + 1}"),
    "negative length": http(PHOTO, "Content-Length: -1"),
    "two lengths": http(PHOTO, "Content-Length: 1", "Content-Length: 2"),
    "half a chunk": http(b"5\r\nab", "Transfer-Encoding: chunked"),
    "gzip": http(b"\x1f\x8b\x08", "Content-Encoding: gzip", "Content-Length: 3"),
    "two encodings": http(b"abc", "Content-Encoding: identity, br", "Content-Length: 3"),
    "450 KB in one header": http(b"", f"A: {'a' * 450_000}"),
    "450 KB of headers": http(b"", *[f"A{n}: {'a' * 1000}" for n in range(450)]),
    "2000 times 1xx": b"HTTP/1.1 100 \r\n\r\n" * 2000 + http(),
    "tiny chunks": http(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n", "Transfer-Encoding: chunked"),
    "reset": reset,
}


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING)
@in_a_loop
async def test_an_origin_that_fails(answer):
    async with internet(answer) as net:
        refusal = await net.refusal()
        assert (refusal.code, refusal.status) == ("fetch_failed", 502)


@in_a_loop
async def test_a_name_with_many_addresses_does_not_make_us_knock_at_all_of_them():
    async def nobody(address, port):
        knocked.append(address)
        raise httpcore2.ConnectError

    knocked = []
    async with internet() as net:
        net.names["photos.test"] = [f"8.8.8.{n}" for n in range(100)]
        net.dial = nobody
        assert (await net.refusal()).code == "fetch_failed"
        assert knocked == net.names["photos.test"][: len(knocked)]
        assert 2 <= len(knocked) <= 10


@in_a_loop
async def test_a_port_where_nobody_listens():
    async with internet() as net:
        await net.origin.stop()
        assert (await net.refusal()).code == "fetch_failed"


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (http(b"x" * 1000), 1000),
        (http(b"x" * 1000, "Content-Length: 10"), 10),
        (http(b"x" * 1000, "Connection: close"), 1000),
        (http(b"3E8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 1000),
        (http(b"x" * 1000, "Content-Encoding: Identity", "Content-Length: 1000"), 1000),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http(b"x" * 1000), 1000),
        (http(b""), 0),
    ],
)
@in_a_loop
async def test_bodies_up_to_the_limit(answer, size):
    async with internet(answer, max_bytes=1000) as net:
        assert await net.fetcher.fetch(URL) == b"x" * size


async def endless(writer):
    writer.write(http(b"", "Connection: close"))
    while True:
        writer.write(bytes(10_000))
        await writer.drain()


async def huge_by_its_head(writer):
    writer.write(http(b"", "Content-Length: 1001"))
    await silence(writer)


@pytest.mark.parametrize("answer", [http(b"x" * 1001), http(b"x" * 1001, "A: b"), endless, huge_by_its_head])
@in_a_loop
async def test_a_body_over_the_limit_is_cut_off(answer):
    async with internet(answer, max_bytes=1000) as net:
        refusal = await net.refusal()
        assert (refusal.code, refusal.status) == ("too_large", 413)
        await net.origin.hung_up.acquire()


SECRET = "s3cr3t"
TELLING = [
    http(SECRET.encode(), status=f"500 {SECRET}"),
    f"{SECRET}\r\n\r\n".encode(),
    http(b"", f"{SECRET}\x00: {SECRET}"),
    http(b"", "Content-Encoding: gzip", f"A: {SECRET}"),
    http(b"x" * 101, f"A: {SECRET}"),
    redirect(f"http://10.0.0.5/{SECRET}"),
    redirect(f"http://{SECRET}.test/?{SECRET}"),
    redirect(f"http://xn--{SECRET}-\xff/"),
]


@pytest.mark.parametrize("answer", TELLING)
@in_a_loop
async def test_no_refusal_tells_what_the_other_side_said_or_where_it_is(answer):
    async with internet(answer, max_bytes=100) as net:
        refusal = await net.refusal(f"http://photos.test/{SECRET}?token={SECRET}")
        told = [str(refusal.as_json()), refusal.detail, *traceback.format_exception(refusal)]
        assert not any(word in text for text in told for word in (SECRET, PUBLIC, "10.0.0.5", "127.0.0.1"))


# Deadlines


async def drip(writer):
    writer.write(http(b"", "Content-Length: 1000"))
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def dripping_head(writer):
    for byte in http():
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answer", [silence, drip, dripping_head])
@in_a_loop
async def test_one_deadline_around_everything(answer):
    async with internet(answer, timeout_s=0.3) as net:
        started = asyncio.get_running_loop().time()
        refusal = await net.refusal()
        assert (refusal.code, refusal.status) == ("fetch_slow", 504)
        assert 0.25 < asyncio.get_running_loop().time() - started < 1
        await net.origin.hung_up.acquire()


@pytest.mark.parametrize("seam", ["resolve", "dial"])
@in_a_loop
async def test_a_look_up_or_connection_that_hangs(seam):
    async with internet(timeout_s=0.1) as net:
        setattr(net, seam, silence)
        assert (await net.refusal()).code == "fetch_slow"


@in_a_loop
async def test_hung_look_ups_keep_their_places_until_they_end():
    end = asyncio.Event()

    async def hang(host, port):
        await end.wait()
        return [PUBLIC]

    async with internet(http(), timeout_s=0.1, slots=2) as net:
        net.resolve = hang
        late = await asyncio.gather(*[net.refusal(f"http://{name}.test/") for name in "ab"])
        assert {refusal.code for refusal in late} == {"fetch_slow"}
        busy = await asyncio.wait_for(net.refusal(), 0.05)
        assert (busy.code, busy.status, busy.retry_after_s) == ("busy", 503, 1)
        end.set()
        await asyncio.sleep(0.01)
        assert await net.fetcher.fetch(URL) == PHOTO


@in_a_loop
async def test_the_real_look_up_runs_beside_the_loop():
    assert await system_resolve("127.0.0.1", 80) == ["127.0.0.1"]
    with pytest.raises(UnicodeError):  # refused by the codec, before anything is asked
        await system_resolve(f"{'a' * 64}.test", 80)


# Slots and single flight


@in_a_loop
async def test_a_full_house_refuses_at_once_and_frees_its_places():
    async with internet(silence, slots=2) as net:
        callers = [asyncio.create_task(net.fetcher.fetch(f"http://photos.test/{n}")) for n in range(2)]
        for _ in callers:
            await net.origin.asked.acquire()
        assert (await asyncio.wait_for(net.refusal("http://photos.test/2"), 0.05)).code == "busy"
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        for _ in callers:
            await asyncio.wait_for(net.origin.hung_up.acquire(), 0.1)
        net.origin.answer = http()
        assert await net.fetcher.fetch("http://photos.test/2") == PHOTO


@in_a_loop
async def test_one_url_is_fetched_once_for_all_who_ask_meanwhile():
    answer = asyncio.Event()

    async def when_told(writer):
        await answer.wait()
        writer.write(http())

    async with internet(when_told, slots=1) as net:
        callers = [asyncio.create_task(net.fetcher.fetch(f"{URL}#{n}")) for n in range(5)]
        await net.origin.asked.acquire()
        callers[0].cancel()
        await asyncio.sleep(0)
        answer.set()
        left, *others = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(left, asyncio.CancelledError)
        assert others == [PHOTO] * 4
        assert net.origin.connections == 1
        assert await net.fetcher.fetch(URL) == PHOTO
        assert net.origin.connections == 2


@in_a_loop
async def test_a_refusal_reaches_everybody_who_waits():
    async with internet(http(b"", status="500 Oops")) as net:
        refusals = await asyncio.gather(*[net.refusal() for _ in range(3)])
        assert [refusal.code for refusal in refusals] == ["fetch_failed"] * 3
        assert net.origin.connections == 1


@in_a_loop
async def test_the_last_caller_to_leave_ends_the_fetch():
    async with internet(silence) as net:
        before = len(asyncio.all_tasks())
        callers = [asyncio.create_task(net.fetcher.fetch(URL)) for _ in range(2)]
        await net.origin.asked.acquire()
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        await asyncio.wait_for(net.origin.hung_up.acquire(), 0.1)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == before


@in_a_loop
async def test_a_caller_who_comes_when_the_last_one_leaves_starts_afresh():
    async with internet(silence) as net:
        first = asyncio.create_task(net.fetcher.fetch(URL))
        await net.origin.asked.acquire()
        net.origin.answer = http()
        first.cancel()
        await asyncio.wait([first])
        assert await net.fetcher.fetch(URL) == PHOTO


@in_a_loop
async def test_whoever_waits_when_the_service_stops_is_told_so():
    async with internet(silence) as net:
        waiting = asyncio.create_task(net.refusal())
        await net.origin.asked.acquire()
    assert (await waiting).code == "draining"
