"""The rules on where a URL may lead: both edges of every range, hostile spellings, the operator's list."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.addresses import HostPolicy, is_internal, is_public
from app.errors import Refusal, SettingError

# first and last address of a range that is not public; then its public neighbours, where they are public
RANGES = [
    ("0.0.0.0", "0.255.255.255", None, "1.0.0.0"),
    ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "255.255.255.255", "223.255.255.255", None),
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, "2000::"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff::1", "2001:db9::"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff::1", "2003::"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:7fff:ffff::1", "2620:4f:8001::"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff::1", "3fff:1000::"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
]


# fmt: off
DISGUISED = [
    "192.0.0.192", "168.63.129.16", "100.100.100.200", "255.255.255.255",
    "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8",
    "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "fe80::1", "fec0::1", "fd00:ec2::254", "ff02::1",
    "2606:4700::1%eth0", "2606:4700::5efe:127.0.0.1", "2606:4700::5efe:8.8.8.8", "2606:4700::200:5efe:10.0.0.1",
    "2606:4700::300:5efe:10.0.0.1",
]
NEVER = [
    "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fe80::1", "fd00:ec2::254",
    "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00::5efe:169.254.169.254", "fd00::1%eth0",
]
NO_ADDRESS = [
    "", "2130706433", "134744072", "0x08080808", "8.8.2056", "8.8.8.8.", " 8.8.8.8", "08.8.8.8", "8.8.8", "8.8.8.8/32",
    "8.8.8.8:80", "[2606:4700::1111]", "\uff18.8.8.8", "8.8.8.8\n", "example.org",
]
NO_URL = [
    "", "photos.test/a.jpg", "//photos.test/", "http:photos.test/", "http:///photos.test/", "http://", "http://:80/",
    "file:///etc/passwd", "ftp://photos.test/", "gopher://photos.test/", "data:image/png;base64,AAAA", "ws://a.test/",
    "http://user@photos.test/", "http://user:pw@photos.test/", "http://:@photos.test/", "http://a.test@127.0.0.1/",
    "http://a.test\\@127.0.0.1/", "http://127.0.0.1\\@a.test/", "http://a.test\\.b.test/", "http://a@b.test@c.test/",
    " http://photos.test/", "\thttp://photos.test/", "ht\ntp://photos.test/", "http://photos\r.test/",
    "http://photos.test/\n", "http://photos.test/\x00", "http://photos.test/\x1b[31m", "http://photos .test/",
    "http://photos.test:9x/", "http://photos.test:80:80/", "http://photos.test:x/", "http://photos.test:8 0/",
    "http://[::1", "http://[::1]x/", "http://[v1.x]/", "http://[127.0.0.1]/", "http://1.2.3.4.5:6:7/",
    "http://127.0.0.1./", "http://localhost./", "http://a..test/", "http://.test/", "http://-a.test/", "http://a-.test/",
    "http://%31%32%37.0.0.1/", "http://a%2etest/", "http://\u2460.0.0.1/", "http://\ud800.test/", "http://a.test/\ud800",
    "http://256.0.0.1/", "http://010.0.0.1/", f"http://{'a' * 64}.test/", f"http://{'a.' * 125}test/",
    f"http://photos.test/{'a' * 2030}", f"http://photos.test/{'é' * 1015}",
]
NO_LIST = [
    "", " ", ",", "minio,", "a b", "http://minio", "minio/", "minio:", "minio:x", "minio:0", "minio:65536", "minio:-1",
    "*", "*.", "a.*.test", "**.test", "*minio", "user@minio", "::1", "[::1", "[::1]:", "[x]", "-a.test", "a..test",
    "a.test.", "public,minio", "none,minio", "*.0.0.1", "*.[::1]", "127.1", "0x7f000001", "2130706433", "10.0.0.256",
    "169.254.169.254", "168.63.129.16", "100.100.100.200:80", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%eth0]",
    "0.0.0.0",
]
# fmt: on


@pytest.mark.parametrize(("first", "last", "before", "after"), RANGES)
def test_both_edges_of_every_range_that_is_not_public(first, last, before, after):
    assert not is_public(first)
    assert not is_public(last)
    assert before is None or is_public(before)
    assert after is None or is_public(after)


@pytest.mark.parametrize("address", DISGUISED)
def test_forms_that_lead_inside_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::5eff:8.8.8.8", "2606:4700::1:5efe:1:1"])
def test_ordinary_addresses_are_public(address):
    assert is_public(address)
    assert not is_internal(address)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_only_the_standard_notation_is_an_address(text):
    assert not is_public(text)
    assert not is_internal(text)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address):
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast
        assert not is_internal(str(address))


@given(st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_public_ipv6_starts_with_the_bits_001(address):
    assert not is_public(str(address)) or int(address) >> 125 == 1


@pytest.mark.parametrize(
    ("first", "last", "before", "after"),
    [
        ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
        ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
        ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
        ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
        ("::1", "::1", "::", "::2"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff::", "fe00::"),
    ],
)
def test_both_edges_of_every_internal_range(first, last, before, after):
    assert is_internal(first)
    assert is_internal(last)
    assert not is_internal(before)
    assert not is_internal(after)


@pytest.mark.parametrize("address", NEVER)
def test_no_list_opens_metadata_link_local_or_disguised_addresses(address):
    assert not is_public(address)
    assert not is_internal(address)


def target(policy: str, url: str) -> str:
    """What a policy says to a URL: the URL it would fetch, or the code of its refusal."""
    try:
        return str(HostPolicy.parse(policy).target(url))
    except Refusal as refusal:
        return refusal.code


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://photos.test/a.jpg?size=large#top", "http://photos.test/a.jpg?size=large"),
        ("HTTPS://Photos.TEST/a b.jpg", "https://photos.test/a%20b.jpg"),
        ("https://photos.test:443/", "https://photos.test/"),
        ("http://photos.test:443/", "http://photos.test:443/"),
        ("https://photos.test:80/", "https://photos.test:80/"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://my_bucket.photos.test/", "http://my_bucket.photos.test/"),
        ("http://photos.test?@127.0.0.1/", "http://photos.test?@127.0.0.1/"),
        ("http://photos.test#@127.0.0.1/", "http://photos.test"),
        (
            f"http://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}/",
            f"http://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}/",
        ),
        (f"http://photos.test/{'a' * 2029}", f"http://photos.test/{'a' * 2029}"),
    ],
)
def test_urls_that_are_read(url, read):
    assert target("public", url) == read


@pytest.mark.parametrize("url", NO_URL)
def test_texts_that_are_no_url_for_us(url):
    assert target("public", url) == "bad_url"


@pytest.mark.parametrize("port", ["0", "-1", "22", "79", "81", "442", "444", "8080", "65536", "99999"])
def test_other_ports_are_blocked(port):
    assert target("public", f"http://photos.test:{port}/") == "blocked_url"


def test_every_host_is_off_when_the_policy_is_none():
    assert target("none", "http://photos.test/") == "url_route_off"
    assert target("none", "not a URL") == "url_route_off"


@given(st.text() | st.text(alphabet="htps:/@\\[]%.#?0127xa-。ß\t\x00").map("http://".__add__))
def test_any_text_is_read_or_refused(text):
    try:
        url = HostPolicy.parse("public").target(text)
    except Refusal as refusal:
        assert refusal.status == 400
    else:
        assert url.scheme in ("http", "https")
        assert url.port in (None, 80, 443)
        assert url.raw_host
        assert not url.userinfo


@pytest.mark.parametrize(
    ("policy", "url", "allowed"),
    [
        ("minio:9000", "http://minio:9000/a.jpg", True),
        ("minio:9000", "https://MINIO:9000/a.jpg", True),
        ("minio:9000", "http://minio:9001/a.jpg", False),
        ("minio:9000", "http://minio/a.jpg", False),
        ("minio:9000", "http://minio.test:9000/a.jpg", False),
        ("minio:9000", "http://xminio:9000/a.jpg", False),
        ("minio:80", "http://minio/a.jpg", True),
        ("minio:80", "https://minio/a.jpg", False),
        ("minio", "http://minio/a.jpg", True),
        ("minio", "https://minio/a.jpg", True),
        ("minio", "http://minio:9000/a.jpg", False),
        ("MinIO , other", "http://other/", True),
        ("*.example.org", "http://a.example.org/", True),
        ("*.example.org", "http://a.b.example.org/", True),
        ("*.example.org", "http://example.org/", False),
        ("*.example.org", "http://badexample.org/", False),
        ("*.example.org", "http://example.org.evil.test/", False),
        ("*.example.org:8443", "https://a.example.org:8443/", True),
        ("*.example.org:8443", "https://a.example.org/", False),
        ("bücher.test", "http://xn--bcher-kva.test/", True),
        ("10.0.0.5:9000", "http://10.0.0.5:9000/", True),
        ("10.0.0.5:9000", "http://10.0.0.6:9000/", False),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/", True),
        ("[::1]:8080", "http://[::1%25lo]:8080/", False),
        ("[0:0::1]", "http://[::1]/", True),
    ],
)
def test_listed_hosts_are_allowed_on_exactly_their_port(policy, url, allowed):
    assert (target(policy, url) != "blocked_url") is allowed


@pytest.mark.parametrize(
    ("policy", "addresses", "allowed"),
    [
        ("public", ["8.8.8.8", "2606:4700::1111"], True),
        ("public", ["8.8.8.8", "10.0.0.5"], False),
        ("a.example.org", ["10.0.0.5"], True),
        ("a.example.org", ["127.0.0.1", "::1", "8.8.8.8"], True),
        ("a.example.org", ["169.254.169.254"], False),
        ("a.example.org", ["10.0.0.5", "169.254.169.254"], False),
        ("*.example.org", ["8.8.8.8"], True),
        ("*.example.org", ["10.0.0.5"], False),
        ("*.example.org,a.example.org", ["10.0.0.5"], True),
        ("*.example.org,a.example.org:9000", ["10.0.0.5"], False),
        ("b.example.org", ["8.8.8.8"], False),
    ],
)
def test_only_a_host_listed_by_its_full_name_may_be_internal(policy, addresses, allowed):
    try:
        HostPolicy.parse(policy).check_addresses("a.example.org", 80, addresses)
    except Refusal as refusal:
        assert (refusal.code, allowed) == ("blocked_url", False)
    else:
        assert allowed


@pytest.mark.parametrize("text", NO_LIST)
def test_a_bad_list_is_refused_and_the_entry_named(text):
    with pytest.raises(SettingError, match=r"^must ") as caught:
        HostPolicy.parse(text)
    assert any(repr(entry.strip()) in str(caught.value) for entry in text.split(","))


def test_policies_are_values():
    assert HostPolicy.parse("minio:9000") == HostPolicy.parse("MINIO:9000")
    assert HostPolicy.parse("public") != HostPolicy.parse("none")
