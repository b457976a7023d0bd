"""Where a URL may lead: the rules on IP addresses, hosts, ports and redirects. Pure: opens no socket, looks up no name.

The address tables are ours and frozen, on purpose: what `ipaddress.is_global` lets through changes with the Python
version, and on 3.11 it lets through multicast, and NAT64, 6to4 and ISATAP forms of 127.0.0.1. Source: IANA's registries
of special-purpose addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import httpx2

from app.errors import Refusal, SettingError

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]


def _networks(table: str) -> Networks:
    return tuple(ip_network(word) for word in table.split())


GLOBAL_UNICAST = _networks("0.0.0.0/0 2000::/3")

NOT_PUBLIC = _networks(
    # this network, private, carrier-grade NAT, loopback, link-local, private
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12"
    # protocol assignments, documentation, 6to4 relays, private, benchmarks, documentation
    " 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24"
    # multicast, reserved and broadcast, Azure's host agent (which looks public)
    " 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32"
    # protocol assignments with Teredo, documentation, 6to4, AS112, documentation
    " 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20"
)

# What a host that the operator listed may be besides public: loopback, private, carrier-grade NAT (pods on EKS).
INTERNAL = _networks("127.0.0.0/8 10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")

# Cloud metadata and credentials within those ranges: Alibaba, AWS, Google, Oracle, Scaleway.
METADATA = _networks("100.100.100.200/32 fd00:ec2::/32 fd20:ce::/32 fd00:c1::a9fe:a9fe/128 fd00:42::42/128")

MAX_URL_BYTES = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*")
# Some resolver reads it as an IPv4 address: the last label is a number (WHATWG URL, "ends in a number").
NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
LISTED = re.compile(r"(?P<wildcard>\*\.)?(?P<host>[^][:*/?#@]+|\[[^][]+\])(:(?P<port>[0-9]{1,5}))?")


def parse_address(text: str) -> Address | None:
    """Read an IP address in its standard notation; None for anything else, scoped addresses (fe80::1%eth0) included."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id is not None else address


def is_public(address: str) -> bool:
    """Whether this is public unicast: the only kind of address that a stranger's URL may lead to."""
    return _allowed(address, GLOBAL_UNICAST, NOT_PUBLIC)


def is_internal(address: str) -> bool:
    """Whether this is loopback or private: allowed for a host that the operator listed by its full name, else never.

    Link-local and cloud-metadata addresses are neither public nor internal, so no list opens them.
    """
    return _allowed(address, INTERNAL, METADATA)


def _allowed(text: str, within: Networks, without: Networks) -> bool:
    address = parse_address(text)
    if address is None or (isinstance(address, IPv6Address) and _is_isatap(address)):
        return False
    # `in` is False where one is IPv4 and the other IPv6
    return any(address in network for network in within) and not any(address in network for network in without)


def _is_isatap(address: IPv6Address) -> bool:
    # RFC 5214 §6.1: the interface id 0000:5efe or 0200:5efe (u and g bits may vary), then an IPv4 address to tunnel to.
    return (int(address) >> 32) & 0xFCFF_FFFF == 0x0000_5EFE


def same_address(one: str, other: str) -> bool:
    """Whether two texts are the same IP address, however written."""
    address = parse_address(one)
    return address is not None and address == parse_address(other)


def is_literal(host: str) -> bool:
    """Whether a host is written as an address, well or badly, and so must never be looked up."""
    return ":" in host or NUMBER.fullmatch(host) is not None


@dataclass(frozen=True)
class HostRule:
    """A host to fetch from, on `port` or else on 80 and 443; with `wildcard`, every name that ends in `host`."""

    host: str
    port: int | None = None
    wildcard: bool = False

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read `name`, `name:port`, `*.name`, `10.0.0.5:9000` or `[::1]:8080`; raises SettingError ("must be …")."""
        match = LISTED.fullmatch(entry)
        host = _ascii_host(match["host"]) if match else ""
        if match is None or host in ("", "public", "none"):
            raise SettingError(
                f"must be public, none, or a list such as minio:9000,*.example.org: {entry!r} is no host"
            )
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 1 <= port <= 65535:
            raise SettingError(f"must name ports from 1 to 65535: {entry!r} does not")
        if is_literal(host) and (match["wildcard"] or not (is_public(host) or is_internal(host))):
            raise SettingError(f"must not list {entry!r}: photos are never fetched from such an address")
        return cls(f".{host}", port, wildcard=True) if match["wildcard"] else cls(host, port)

    def covers(self, host: str, port: int) -> bool:
        """Whether this entry speaks of that host and port."""
        if port not in ((self.port,) if self.port else DEFAULT_PORTS.values()):
            return False
        return host.endswith(self.host) if self.wildcard else host == self.host or same_address(host, self.host)

    def admits(self, address: str) -> bool:
        """Whether its host may live there: at a public address, or at an internal one if listed by its full name."""
        return is_public(address) or (not self.wildcard and is_internal(address))


ANY_HOST = HostRule("", wildcard=True)


@dataclass(frozen=True)
class HostPolicy:
    """Which hosts photos may be fetched from; without rules, from none."""

    rules: tuple[HostRule, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the setting: `public`, `none`, or a list such as `minio:9000,*.example.org`; raises SettingError."""
        if text == "public":
            return cls((ANY_HOST,))
        return cls(() if text == "none" else tuple(HostRule.parse(entry.strip()) for entry in text.split(",")))

    def target(self, text: str) -> httpx2.URL:
        """Read the URL that a caller names; raises Refusal `url_route_off`, `bad_url` or `blocked_url`."""
        if not self.rules:
            raise Refusal("url_route_off", "This service does not fetch photos from URLs.")
        url = parse_url(text)
        port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port  # :0 is a port, not a missing one
        if not any(rule.covers(url.raw_host.decode(), port) for rule in self.rules):
            raise blocked("host or port")
        return url

    def redirected(self, url: httpx2.URL, location: str) -> httpx2.URL:
        """Read where a redirect from `url` leads; raises Refusal `blocked_url`."""
        try:
            target = self.target(str(url.join(location)))
        except (Refusal, httpx2.InvalidURL, ValueError):
            raise blocked("redirect") from None
        if (url.scheme, target.scheme) == ("https", "http"):
            raise blocked("redirect from https to http")
        return target

    def check_addresses(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Refuse a host if any of its addresses may not be connected to on this port; raises Refusal `blocked_url`."""
        rules = [rule for rule in self.rules if rule.covers(host, port)]
        if not all(any(rule.admits(address) for rule in rules) for address in addresses):
            raise blocked("an address of the host")


def blocked(detail: str) -> Refusal:
    """The one refusal for every reason not to connect: it must not tell a private address from a port off the list."""
    return Refusal("blocked_url", "This URL may not be fetched.", detail=detail)


def parse_url(text: str) -> httpx2.URL:
    """Read an absolute http or https URL, its fragment left out; raises Refusal `bad_url`."""
    try:
        size, url = len(text.encode()), httpx2.URL(text.partition("#")[0])
    except (httpx2.InvalidURL, ValueError):
        raise Refusal("bad_url", "This is not a URL.") from None
    host = url.raw_host.decode()
    if size > MAX_URL_BYTES:
        raise Refusal("bad_url", f"This URL is longer than {MAX_URL_BYTES} bytes.")
    if url.scheme not in DEFAULT_PORTS or not _is_host(host):
        raise Refusal("bad_url", "This is not an http:// or https:// URL with a host.")
    if url.userinfo:
        raise Refusal("bad_url", "This URL holds a user name or password.")
    return url


def _ascii_host(text: str) -> str:
    try:
        host = httpx2.URL(f"http://{text}").raw_host.decode()
    except (httpx2.InvalidURL, ValueError):
        return ""
    return host if _is_host(host) else ""


def _is_host(host: str) -> bool:
    return HOST_NAME.fullmatch(host) is not None or ":" in host
