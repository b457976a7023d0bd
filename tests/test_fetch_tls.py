"""Fetching photos over TLS: the name in the URL is what SNI and certificate are held to, whatever the address."""

import asyncio
import datetime
import ssl

import pytest
import trustme

from tests.test_fetch import PHOTO, PUBLIC, http, in_a_loop, internet, redirect, silence

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


def secured(ca, *identities, **options):
    """The options of an origin with a certificate for these identities, and of a client that trusts its issuer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*identities, **options).configure_cert(context)
    return {"tls": context, "ca_pem": ca.cert_pem.bytes().decode()}


@in_a_loop
async def test_sni_and_certificate_stay_on_the_name(ca):
    options, names = secured(ca, "photos.test"), []
    options["tls"].sni_callback = lambda connection, name, context: names.append(name)
    async with internet(http(), **options) as net:
        assert await net.fetcher.fetch("https://photos.test/a.jpg") == PHOTO
        assert names == ["photos.test"]
        assert net.dialled == [(PUBLIC, 443)]
        assert b"Host: photos.test\r\n" in net.origin.heads[0]


@in_a_loop
async def test_an_address_may_have_a_certificate_too(ca):
    async with internet(http(), **secured(ca, PUBLIC)) as net:
        assert await net.fetcher.fetch(f"https://{PUBLIC}/a.jpg") == PHOTO


@pytest.mark.parametrize(
    ("identity", "options"),
    [("other.test", {}), (PUBLIC, {}), ("*.photos.test", {}), ("photos.test", {"not_after": LONG_AGO})],
    ids=["another host", "the address", "only below", "expired"],
)
@in_a_loop
async def test_a_wrong_certificate_ends_the_fetch_before_a_byte_is_sent(ca, identity, options):
    async with internet(http(), **secured(ca, identity, **options)) as net:
        refusal = await net.refusal("https://photos.test/a.jpg")
        assert (refusal.code, refusal.status) == ("fetch_failed", 502)
        assert net.origin.heads == []


@in_a_loop
async def test_an_unknown_issuer_is_not_trusted(ca, monkeypatch, tmp_path):
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # trust_env is off
    async with internet(http(), tls=secured(ca, "photos.test")["tls"]) as net:
        assert (await net.refusal("https://photos.test/a.jpg")).code == "fetch_failed"
        assert net.origin.heads == []


@in_a_loop
async def test_an_origin_that_does_not_speak_tls():
    def speak_first(reader, writer):
        writer.write(http())
        writer.close()

    async with internet() as net, await asyncio.start_server(speak_first, "127.0.0.1", 0) as server:
        net.ports[PUBLIC, 443] = server.sockets[0].getsockname()[1]
        assert (await net.refusal("https://photos.test/a.jpg")).code == "fetch_failed"


@in_a_loop
async def test_the_deadline_closes_a_handshake_that_hangs(ca):
    async with internet(timeout_s=0.2) as net:
        # a plain listener waits for a request line; the client waits for a ServerHello
        assert (await net.refusal("https://photos.test/a.jpg")).code == "fetch_slow"
        await asyncio.wait_for(net.origin.hung_up.acquire(), 1)


@in_a_loop
async def test_the_deadline_holds_after_the_handshake_too(ca):
    async with internet(silence, timeout_s=0.3, **secured(ca, "photos.test")) as net:
        assert (await net.refusal("https://photos.test/a.jpg")).code == "fetch_slow"
        await asyncio.wait_for(net.origin.hung_up.acquire(), 1)


@in_a_loop
async def test_a_body_is_cut_off_over_tls_too(ca):
    async with internet(http(b"x" * 1001, "A: b"), max_bytes=1000, **secured(ca, "photos.test")) as net:
        assert (await net.refusal("https://photos.test/a.jpg")).code == "too_large"


@pytest.mark.parametrize("location", ["http://photos.test/b", "http://photos.test:443/b"])
@in_a_loop
async def test_a_redirect_must_not_leave_tls(ca, location):
    answers = {"/a.jpg": redirect(location), "/b": http()}
    async with internet(answers, **secured(ca, "photos.test")) as net:
        assert (await net.refusal("https://photos.test/a.jpg")).code == "blocked_url"
        assert len(net.origin.heads) == 1


@in_a_loop
async def test_a_redirect_may_enter_tls(ca):
    async with (
        internet(http(), **secured(ca, "photos.test")) as net,
        internet(redirect("https://photos.test/")) as plain,
    ):
        net.ports[PUBLIC, 80] = plain.origin.port
        assert await net.fetcher.fetch("http://photos.test/a.jpg") == PHOTO
        assert net.dialled == [(PUBLIC, 80), (PUBLIC, 443)]
