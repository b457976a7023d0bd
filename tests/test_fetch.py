"""Fetching photos from URLs, against real listeners on loopback.

No packet leaves the machine: `resolve` is a table, and `dial` connects to loopback whatever address it is given, to the
listener that stands for that address or, where there is none, to a canary that must never be called.
"""

import asyncio
import functools
import socket
from contextlib import asynccontextmanager

import httpcore2
import pytest

from app.errors import Refusal
from app.fetch import Fetcher, HostPolicy, system_dial

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:4700::1111"
PHOTO = bytes(range(256)) * 40
URL = "http://photos.test/a.jpg"


class Listener:
    """A TCP server on loopback; `answer` is bytes, bytes by path, or a coroutine function that is given the writer."""

    def __init__(self, answer):
        self.answer = answer
        self.heads = []
        self.connections = 0
        self.asked = asyncio.Semaphore(0)  # released once for each request
        self.hung_up = asyncio.Semaphore(0)  # and once for each connection that the other side has closed
        self._tasks = set()

    async def start(self, **options):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **options)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.release()
            reply, hang_up = asyncio.create_task(self._reply(writer)), asyncio.create_task(reader.read())
            self._tasks |= {reply, hang_up}
            await asyncio.wait({reply, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            await hang_up
            reply.cancel()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.hung_up.release()
            writer.close()

    async def _reply(self, writer):
        answer = self.answer
        if isinstance(answer, dict):
            answer = answer[self.heads[-1].split()[1].decode()]
        if callable(answer):
            await answer(writer)
        else:
            writer.write(answer)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()


class Claimed(httpcore2.AsyncNetworkStream):
    """A loopback connection that claims to lead to `peer`; over TLS it trusts the certificates of `ca_pem`."""

    def __init__(self, stream, peer, ca_pem):
        self.stream, self.peer, self.ca_pem = stream, peer, ca_pem
        self.read, self.write, self.aclose = stream.read, stream.write, stream.aclose

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        if self.ca_pem:
            ssl_context.load_verify_locations(cadata=self.ca_pem)
        return await self.stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info):
        return self.peer if info == "server_addr" else self.stream.get_extra_info(info)


class Internet:
    """Names, addresses and listeners: all that `fetcher` can see. Tests may put their own `resolve` and `dial`."""

    def __init__(self, origin, canary, ca_pem):
        self.names = {"photos.test": [PUBLIC], "both.test": [PUBLIC, PUBLIC_6], "internal.test": ["10.0.0.5"]}
        self.ports = {(PUBLIC, 80): origin.port, (PUBLIC, 443): origin.port, (PUBLIC_6, 80): origin.port}
        self.origin, self.canary, self.ca_pem = origin, canary, ca_pem
        self.looked_up, self.dialled = [], []

    async def resolve(self, host, port):
        self.looked_up.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    async def dial(self, address, port):
        self.dialled.append((address, port))
        stream = await system_dial("127.0.0.1", self.ports.get((address, port), self.canary.port))
        return Claimed(stream, (address, port), self.ca_pem)

    async def refusal(self, url=URL):
        with pytest.raises(Refusal) as caught:
            await self.fetcher.fetch(url)
        return caught.value


@asynccontextmanager
async def internet(answer=b"", *, policy="public", tls=None, ca_pem=None, timeout_s=5, max_bytes=100_000, **options):
    """An origin that answers so, a canary, and a Fetcher; afterwards the canary must have seen nobody."""
    origin, canary = await Listener(answer).start(ssl=tls), await Listener(http(b"from inside")).start()
    net = Internet(origin, canary, ca_pem)
    options |= {"timeout_s": timeout_s, "max_bytes": max_bytes}
    options |= {"resolve": lambda *host: net.resolve(*host), "dial": lambda *address: net.dial(*address)}
    try:
        async with Fetcher(HostPolicy.parse(policy), **options) as net.fetcher:
            yield net
        assert canary.connections == 0
    finally:
        await origin.stop()
        await canary.stop()


def in_a_loop(test):
    """Run an async test in an event loop of its own, for 10 s at most."""

    @functools.wraps(test)
    def run(**arguments):
        asyncio.run(asyncio.wait_for(test(**arguments), 10))

    return run


def http(body=PHOTO, *headers, status="200 OK"):
    """A response; its length is told unless `headers` tell something."""
    lines = [f"HTTP/1.1 {status}", *(headers or [f"Content-Length: {len(body)}"])]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def redirect(location, status="302 Found"):
    return http(b"", f"Location: {location}", "Content-Length: 0", status=status)


async def silence(*_):
    await asyncio.Event().wait()


# fmt: off
FORBIDDEN = [
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "192.0.0.192", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[3fff::1]",
    "[2002:7f00:1::]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fd00:ec2::254]", "[fec0::1]", "2130706433", "0",
    "0x7f000001", "0X7F.1", "017700000001", "127.1", "127.0x1", "127\u30020\u30020\u30021", "photos.test.0x7f",
    "photos.test:22", "photos.test:0", "localhost:8000",
]
FORBIDDEN_LOCATIONS = [
    "http://127.0.0.1/", "http://internal.test/", "//internal.test/", "file:///etc/passwd", "http://photos.test:22/",
    "http://user:pw@photos.test/", "ftp://photos.test/", "http://[::1]/", "http://2130706433/", "http://[",
    "http://photos.test:0/", "http://xn--\xff/", f"http://photos.test/{'a' * 2048}", "data:image/png,x",
    ":file:", "mailto:a@b.test", "https://127.0.0.1/", "http://photos.test:80:80/", "https:photos.test/b",
]
# fmt: on


# What is fetched, and how it is asked for


@in_a_loop
async def test_a_photo_is_fetched_by_name_at_the_checked_address():
    async with internet(http(PHOTO, "Content-Type: text/html")) as net:
        assert await net.fetcher.fetch("http://photos.test/a%20b.jpg?size=large#top") == PHOTO
        head = net.origin.heads[0].decode().lower().split("\r\n")
        assert head[0] == "get /a%20b.jpg?size=large http/1.1"
        assert "host: photos.test" in head
        assert "accept-encoding: identity" in head
        assert "connection: close" in head
        assert net.looked_up == ["photos.test"]
        assert net.dialled == [(PUBLIC, 80)]


@in_a_loop
async def test_addresses_are_tried_in_turn_and_literals_are_not_looked_up():
    async with internet(http()) as net:
        dial = net.dial

        async def one_is_down(address, port):
            if address == PUBLIC:
                raise httpcore2.ConnectError
            return await dial(address, port)

        net.dial = one_is_down
        assert await net.fetcher.fetch("http://both.test/") == PHOTO
        assert await net.fetcher.fetch(f"http://[{PUBLIC_6}]/") == PHOTO
        assert net.looked_up == ["both.test"]
        assert f"Host: [{PUBLIC_6}]\r\n".encode() in net.origin.heads[1]


@in_a_loop
async def test_no_connection_and_no_cookie_is_kept_and_no_proxy_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with internet(http(PHOTO, "Set-Cookie: session=1; Path=/", f"Content-Length: {len(PHOTO)}")) as net:
        assert await net.fetcher.fetch(URL) == PHOTO
        assert await net.fetcher.fetch(URL) == PHOTO
        assert net.origin.connections == 2
        assert net.origin.heads[0] == net.origin.heads[1]
        assert b"cookie" not in net.origin.heads[1].lower()


@in_a_loop
async def test_cookies_are_not_sent_along_redirects_either():
    first = http(b"", "Location: /b", "Set-Cookie: session=1; Path=/", "Content-Length: 0", status="302 Found")
    async with internet({"/a.jpg": first, "/b": http()}) as net:
        assert await net.fetcher.fetch(URL) == PHOTO
        assert b"cookie" not in net.origin.heads[1].lower()


# What is refused before a connection


@pytest.mark.parametrize("host", FORBIDDEN)
@in_a_loop
async def test_a_forbidden_host_is_neither_looked_up_nor_dialled(host):
    async with internet() as net:
        assert (await net.refusal(f"http://{host}/a.jpg")).code == "blocked_url"
        assert (await net.refusal(f"https://{host}/a.jpg")).code == "blocked_url"
        assert net.looked_up == net.dialled == []


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "http:///127.0.0.1/", "http://a.test@127.0.0.1/", "http://\r/"]
)
@in_a_loop
async def test_what_is_no_url_is_refused_as_such(url):
    async with internet() as net:
        assert (await net.refusal(url)).code == "bad_url"
        assert net.looked_up == net.dialled == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        [PUBLIC, "10.0.0.5"],
        ["10.0.0.5", PUBLIC],
        ["junk"],
    ],
)
@in_a_loop
async def test_a_name_with_one_forbidden_address_is_not_dialled_at_all(addresses):
    async with internet() as net:
        net.names["localhost"] = addresses
        assert (await net.refusal("http://localhost/")).code == "blocked_url"
        assert net.dialled == []


@in_a_loop
async def test_every_denial_looks_the_same():
    async with internet(redirect("http://10.0.0.5/")) as net:
        urls = ["http://10.0.0.5/", "http://127.1/", "http://photos.test:22/", "http://internal.test/", URL]
        refusals = [await net.refusal(url) for url in urls]
        assert len({(str(refusal.as_json()), refusal.status, refusal.retry_after_s) for refusal in refusals}) == 1


@in_a_loop
async def test_a_name_that_changes_its_address_never_leads_inside():
    async with internet(redirect("/again")) as net:
        answers = [[PUBLIC], ["10.0.0.5"]]

        async def resolve(host, port):
            return answers.pop(0)

        net.resolve = resolve
        assert (await net.refusal()).code == "blocked_url"
        assert net.dialled == [(PUBLIC, 80)]


@in_a_loop
async def test_a_connection_that_ends_elsewhere_is_dropped_before_a_byte_is_sent():
    async with internet(http()) as net:

        async def misled(address, port):
            return await system_dial("127.0.0.1", net.origin.port)

        net.dial = misled
        assert (await net.refusal()).code == "blocked_url"
        await net.origin.hung_up.acquire()
        assert net.origin.heads == []


@pytest.mark.parametrize("names", [{}, {"photos.test": []}])
@in_a_loop
async def test_a_name_that_leads_nowhere(names):
    async with internet() as net:
        net.names = names
        refusal = await net.refusal()
        assert (refusal.code, refusal.status) == ("fetch_failed", 502)


@in_a_loop
async def test_the_route_can_be_off():
    async with internet(policy="none") as net:
        assert (await net.refusal()).code == "url_route_off"


# Hosts that the operator listed


@in_a_loop
async def test_a_listed_host_may_be_on_loopback_through_the_real_resolver_and_socket():
    async with internet(http()) as net:
        policy = HostPolicy.parse(f"127.0.0.1:{net.origin.port}")
        async with Fetcher(policy, timeout_s=5, max_bytes=100_000) as fetcher:
            assert await fetcher.fetch(f"http://127.0.0.1:{net.origin.port}/a.jpg") == PHOTO
            with pytest.raises(Refusal, match="may not be fetched"):
                await fetcher.fetch(f"http://127.0.0.1:{net.canary.port}/a.jpg")


@in_a_loop
async def test_a_listed_name_may_be_private_and_its_neighbours_may_not():
    async with internet(http(), policy="minio:9000,*.photos.test") as net:
        net.names |= {"minio": ["10.0.0.5"], "a.photos.test": [PUBLIC], "b.photos.test": ["10.0.0.5"]}
        net.ports["10.0.0.5", 9000] = net.origin.port
        assert await net.fetcher.fetch("http://minio:9000/a.jpg") == PHOTO
        assert b"Host: minio:9000\r\n" in net.origin.heads[0]
        assert await net.fetcher.fetch("http://a.photos.test/") == PHOTO
        for url in ["http://minio/", "http://b.photos.test/", "http://10.0.0.5:9000/", URL]:
            assert (await net.refusal(url)).code == "blocked_url"
        net.names["minio"] = ["169.254.169.254"]
        assert (await net.refusal("http://minio:9000/a.jpg")).code == "blocked_url"
        assert net.dialled == [("10.0.0.5", 9000), (PUBLIC, 80)]


# Redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@in_a_loop
async def test_three_redirects_are_followed(status):
    hops = {"/1": redirect("2", status), "/2": redirect("//photos.test/3", status), "/3": redirect("?b", status)}
    async with internet({**hops, "/3?b": http()}) as net:
        assert await net.fetcher.fetch("http://photos.test/1") == PHOTO
        assert net.origin.connections == 4


@pytest.mark.parametrize("location", ["/a.jpg", "", "/b", "#top", "http://", "\\\\127.0.0.1\\"])
@in_a_loop
async def test_four_redirects_or_a_loop_are_not_followed(location):
    async with internet(redirect(location)) as net:
        refusal = await net.refusal()
        assert refusal.code == "fetch_failed"
        assert "3 times" in refusal.message
        assert net.origin.connections == 4


@pytest.mark.parametrize("location", FORBIDDEN_LOCATIONS)
@in_a_loop
async def test_a_redirect_is_checked_like_the_first_url(location):
    async with internet(redirect(location)) as net:
        assert (await net.refusal()).code == "blocked_url"
        assert net.dialled == [(PUBLIC, 80)]


@in_a_loop
async def test_the_body_of_a_redirect_is_not_waited_for():
    async def endless(writer):
        writer.write(http(b"", "Location: /b", status="302 Found"))
        await silence(writer)

    async with internet({"/a.jpg": endless, "/b": http()}, timeout_s=2) as net:
        assert await net.fetcher.fetch(URL) == PHOTO
