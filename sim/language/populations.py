"""From the keys of a population to a Population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.errors import Problem
from sim.language.fields import Read
from sim.language.include import beside
from sim.scenario.scenario import (
    Backoff,
    Churn,
    ConnectArrival,
    ExponentialTime,
    Network,
    Population,
    Session,
    Transport,
)

__all__ = ["make_backoff", "make_network", "make_population"]


def make_population(read: Read, file: str, problems: list[Problem]) -> Population | None:
    """Return the population of an entry of `clients`; None when a part of it is missing or wrong.

    Args:
        read: The entry.
        file: The scenario's path; files that the entry names are looked for beside it.
        problems: What is wrong goes here.
    """
    before = len(problems)
    values = read.values
    transports = _transports(values.get("transport", "tcp"), problems)
    rooms, weights = _rooms(values.get("room"), problems)
    arrival = _connect_arrival(values.get("connect"), problems)
    tls_ca = _tls_ca(read, file, transports, problems)
    network = _network(values.get("network"), problems)
    _check_devices(read, problems)
    if read.bad or len(problems) > before:
        return None
    connect, churn, session, tls = (values[key] for key in ("connect", "churn", "session", "tls"))
    extra: dict[str, Any] = {}
    if connect is not None:
        extra = {"connect_rate_per_s": connect.values["rate"], "connect_inflight": connect.values["inflight"]}
    return Population(
        name=values["name"],
        count=values["count"],
        transports=transports,
        rooms=rooms,
        room_weights=weights,
        mids=values["mid"],
        connections_per_mid=values["connections_per_mid"],
        keys=values["key"],
        accepts=tuple(dict.fromkeys(values["accepts"])),
        connect_arrival=arrival,
        heartbeat_s=values["heartbeat"],
        reconnect=make_backoff(values["reconnect"]),
        churn=Churn(churn.values["rate"], churn.values["away"]) if churn is not None else None,
        session=_session(session) if session is not None else None,
        sources=values["source"] or (),
        tls_ca=tls_ca,
        tls_verify=tls is None or tls.values["verify"],
        network=network,
        **extra,
    )


def make_backoff(reconnect: Read | None) -> Backoff | None:
    """Return the waits of a `reconnect`."""
    return reconnect.values["backoff"] if reconnect is not None else None


def make_network(values: Mapping[str, Any]) -> Network | None:
    """Return what `latency`, `jitter` and `bandwidth` say; None when none of them is given."""
    latency, jitter, bandwidth = (values[key] for key in ("latency", "jitter", "bandwidth"))
    if latency is jitter is bandwidth is None:
        return None
    return Network(latency or 0.0, jitter or 0.0, bandwidth)


def _network(read: Read | None, problems: list[Problem]) -> Network | None:
    network = make_network(read.values) if read is not None else None
    if read is not None and network is None:
        message = f"{read.path} is an empty mapping; expected latency, jitter, bandwidth, or several of them"
        problems.append(read.item.problem(read.path, message, "network: {latency: 50ms}"))
    return network


def _transports(transport: str | Read, problems: list[Problem]) -> tuple[tuple[Transport, float], ...]:
    """Return the share of each transport; of several shares, one may be left out."""
    if isinstance(transport, str):
        return ((Transport(transport), 1.0),)
    given = {Transport(name): share for name, share in transport.values.items() if share is not None}
    hint = "transport: {tcp: 70%, ws: 30%}"
    if not given:
        message = f"{transport.path} is an empty mapping; expected the share of one transport or of several"
        problems.append(transport.item.problem(transport.path, message, hint))
        return ((Transport.TCP, 1.0),)
    rest = 1.0 - sum(given.values())
    if len(given) == 1 and rest > 1e-9:
        # `{ws: 30%}`: what is left is of the other transport of that kind.
        [only] = given
        other = {
            Transport.TCP: Transport.WS,
            Transport.WS: Transport.TCP,
            Transport.TLS: Transport.WSS,
            Transport.WSS: Transport.TLS,
        }[only]
        given[other] = rest
    elif abs(rest) > 1e-9:
        message = f"{transport.path} adds up to {sum(given.values()) * 100:g}%; expected 100%"
        last = list(given)[-1]
        shares = given | {last: given[last] + rest}
        if shares[last] >= 0:
            hint = f"{{{', '.join(f'{name}: {share * 100:g}%' for name, share in shares.items())}}}"
        problems.append(transport.item.problem(transport.path, message, hint))
    return tuple((one, given[one]) for one in Transport if given.get(one, 0.0) > 0)


def _rooms(room: tuple[str, ...] | Read | None, problems: list[Problem]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the rooms of a population and the weight of each."""
    if room is None:
        return (), ()
    if not isinstance(room, Read):
        return room, ()
    rooms: tuple[str, ...] = room.values["pattern"]
    distribution = room.values["distribution"]
    if distribution is None:
        return rooms, ()
    if not isinstance(distribution, Read):
        return rooms, (1.0,) * len(rooms)
    if "zipf" in distribution.values:
        return rooms, tuple(number ** -distribution.values["zipf"] for number in range(1, len(rooms) + 1))
    weights = tuple(distribution.values["weights"])
    if len(weights) != len(rooms) or not any(weights):
        found = f"has {len(weights)} weights for {len(rooms)} rooms" if any(weights) else "has nothing but zeros"
        message = f"{distribution.path} {found}; expected a weight for each room, and one over 0"
        hint = f"weights: [{', '.join(str(len(rooms) - number) for number in range(len(rooms)))}]"
        problems.append(distribution.problem("weights", message, hint if len(rooms) <= 10 else ""))
    return rooms, weights


def _connect_arrival(connect: Read | None, problems: list[Problem]) -> ConnectArrival:
    if connect is None or "arrival" not in connect.values:
        return ConnectArrival.UNIFORM
    arrival = ConnectArrival(connect.values["arrival"])
    if arrival is ConnectArrival.AT_ONCE and connect.written("rate"):
        message = f"{connect.path}.rate does not go with arrival: at_once; expected only inflight"
        problems.append(connect.problem("rate", message, "rate is for uniform, poisson"))
    return arrival


def _tls_ca(read: Read, file: str, transports: tuple[tuple[Transport, float], ...], problems: list[Problem]) -> str:
    """Return the path of the trusted certificates, empty for none of its own."""
    tls: Read | None = read.values.get("tls")
    if tls is None:
        return ""
    if not any(transport.is_tls for transport, _ in transports) and "transport" not in read.bad:
        message = f"{read.path}.tls is given, and no client uses tls or wss"
        problems.append(read.problem("tls", message, "transport: tls"))
    ca = tls.values["ca"]
    if ca is None:
        return ""
    if not tls.values["verify"]:
        message = f"{tls.path}.ca does not go with verify: false; expected one of them"
        problems.append(tls.problem("ca", message))
    written = tls.item.value["ca"] if isinstance(tls.item.value, dict) else tls.item
    # Beside the file it stands in, which may be an included one; an option stands in none.
    path = beside(written, file)
    if not path.is_file():
        problems.append(tls.problem("ca", f"{tls.path}.ca is {ca}: no such file; expected a PEM file"))
    return str(path)


def _check_devices(read: Read, problems: list[Problem]) -> None:
    count = read.values.get("connections_per_mid", 1)
    if count > 1 and read.values.get("mid") is None and "mid" not in read.bad:
        message = f"{read.path}.connections_per_mid is {count}, and the clients have no mid"
        problems.append(read.problem("connections_per_mid", message, "mid: 1000"))


def _session(session: Read) -> Session:
    length = session.values["length"]
    if isinstance(length, Read):
        length = ExponentialTime(length.values["exponential"])
    return Session(length, session.values["away"])
