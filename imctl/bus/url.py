"""A bus URL taken apart: where the broker is, and the bus's own parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from imctl.errors import ConfigError

__all__ = ["BusUrl", "known_url", "parse_bus_url", "show_url"]

# `//user:password@`, up to the last @ before the path, and `?password=`. Not by urlsplit: what it
# cannot take apart has to be shown too.
_LOGIN = re.compile(r"(://[^/?#@:]*:)[^/?#]*(?=@)")
_PASSWORD = re.compile(r"([?&][^=&]*password=)[^&#]*", re.IGNORECASE)


@dataclass(slots=True)
class BusUrl:
    """The parts of a URL; parameters are taken out one by one, and done() refuses the rest.

    Args:
        scheme: In lower case.
        hosts: `(host, port)`; the port is None where the URL has none.
        username: None without one.
        password: None without one.
        path: Without the slash before it, unquoted.
        shown: The URL as people may see it.
        parameters: What has not been taken.
        what: What it is the URL of, for errors.
    """

    scheme: str
    hosts: list[tuple[str, int | None]]
    username: str | None
    password: str | None = field(repr=False)
    path: str
    shown: str
    parameters: dict[str, str] = field(repr=False)
    what: str = "bus"

    def text(self, name: str, default: str = "") -> str:
        """Take a parameter."""
        return self.parameters.pop(name, default)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Take a parameter that is a number.

        Raises:
            ConfigError: it is none, or out of range.
        """
        text = self.parameters.pop(name, None)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ConfigError(
                f"{self.what} {self.shown}: {name} is {text!r}; expected a number from {low:g} to {high:g}"
            )
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Take a parameter that is a whole number; raises ConfigError as number() does."""
        value = self.number(name, default, low, high)
        if value != int(value):
            raise ConfigError(f"{self.what} {self.shown}: {name} is {value:g}; expected a whole number")
        return int(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Take a parameter that is one of a few words, by default the first; raises ConfigError for another."""
        value = self.parameters.pop(name, choices[0])
        if value not in choices:
            raise ConfigError(f"{self.what} {self.shown}: {name} is {value!r}; expected one of {', '.join(choices)}")
        return value

    def done(self) -> None:
        """Raise ConfigError when there is a parameter that nobody took."""
        if self.parameters:
            raise ConfigError(
                f"{self.what} {self.shown}: unknown parameter {', '.join(map(repr, sorted(self.parameters)))}"
            )


def parse_bus_url(url: str, what: str = "bus") -> BusUrl:
    """Take a URL apart.

    Args:
        url: Of a bus, or of another server with parameters of the same kind.
        what: What it is the URL of, for errors.

    Raises:
        ConfigError: it cannot be taken apart, a port is not one, or a parameter is there twice.
    """
    shown = show_url(url)
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise ConfigError(f"{what} {shown}: {exc}") from exc
    login, at, addresses = parts.netloc.rpartition("@")
    name, colon, secret = login.partition(":")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise ConfigError(f"{what} {shown}: a parameter is there twice")
    username = unquote(name) if at and name else parameters.pop("username", None)
    password = unquote(secret) if at and colon else parameters.pop("password", None)
    hosts = [_host(address, f"{what} {shown}") for address in addresses.split(",") if address]
    return BusUrl(parts.scheme, hosts, username, password, unquote(parts.path.lstrip("/")), shown, parameters, what)


def _host(address: str, of: str) -> tuple[str, int | None]:
    try:
        # urlsplit knows the brackets of IPv6.
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(f"{of}: {address!r} is not host:port: {exc}") from exc
    if not host:
        raise ConfigError(f"{of}: {address!r} has no host")
    if port == 0:
        raise ConfigError(f"{of}: {address!r}: port 0 is none to connect to; expected 1 to 65535")
    return host, port


def known_url(url: str, what: str, schemes: Iterable[str], hint: str) -> BusUrl:
    """Take a URL apart whose scheme has to be one of a few.

    Args:
        url: What came.
        what: As for parse_bus_url().
        schemes: Which there are.
        hint: Said beside the error when it is another one.

    Raises:
        ConfigError: it is another one, or the URL is not acceptable in whatever way can be told from it alone.
    """
    parsed = parse_bus_url(url, what)
    names = tuple(schemes)
    if parsed.scheme not in names or not url.lower().startswith(f"{parsed.scheme}://"):
        expected = ", ".join(f"{name}://" for name in names)
        raise ConfigError(f"{what} {parsed.shown!r} is not known; expected one of {expected}", hint=hint)
    return parsed


def show_url(url: str) -> str:
    """Return the URL as people may see it: passwords are ***."""
    return _PASSWORD.sub(r"\1***", _LOGIN.sub(r"\1***", url))
