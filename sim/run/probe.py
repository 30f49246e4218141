"""Whether a scenario can be run against a cluster, found out before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from sim.clients.connect import check_sources, tls_context
from sim.errors import SimError, TargetError
from sim.run.target import Target
from sim.scenario.scenario import Scenario, Transport

__all__ = ["probe"]

_LIMIT_S = 5.0
_COMETS = "with --comet 2 `imctl up` starts two"
_HINT = "does the cluster run, and is that its address?"


async def probe(scenario: Scenario, target: Target) -> None:
    """Connect once to every address the scenario needs, so that a cluster that is not there is no failed run.

    Raises:
        TargetError: a listener is not there, does not answer, or shows a certificate that is not trusted.
        SimError: a client could not connect from its address, or certificates to trust cannot be read.
    """
    for population in scenario.clients:
        check_sources(population.sources)
    _check_comets(scenario, target)
    for transport in scenario.transports:
        for host, port in target.comets(transport):
            for tls in _contexts(scenario, target, transport):
                await _reach(f"comet {transport}", host, port, tls)
    for host, port in target.http if scenario.publish else ():
        await _reach("logic http", host, port)


def _check_comets(scenario: Scenario, target: Target) -> None:
    for transport in scenario.transports:
        if not target.comets(transport):
            hint = "with --tls `imctl up` starts one that does" if transport.is_tls else ""
            raise TargetError(f"{target.name} has no comet that listens for {transport}", hint=hint)
    for event in scenario.events:
        if not event.other_comet:
            continue
        for transport, _ in scenario.population(event.who).transports:
            if len(target.comets(transport)) < 2:
                where = f"{scenario.path}:{event.line}:{event.column}: {event.kind.value} with comet: other"
                raise SimError(f"{where}: {target.name} has one comet for {transport}", hint=_COMETS)


def _contexts(scenario: Scenario, target: Target, transport: Transport) -> list[ssl.SSLContext | None]:
    """Return how clients of a transport encrypt; one for each way of checking."""
    if not transport.is_tls:
        return [None]
    ways = {(one.tls_ca, one.tls_verify): one for one in scenario.clients if transport in dict(one.transports)}
    return [tls_context(one, target) for one in ways.values()]


async def _reach(what: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except TimeoutError as exc:
        raise TargetError(f"{what} {host}:{port} did not answer within {_LIMIT_S:.0f} s", hint=_HINT) from exc
    except ssl.SSLCertVerificationError as exc:
        raise TargetError(
            f"{what} {host}:{port}: its certificate is not trusted: {exc.verify_message}",
            hint="clients: tls: {ca: FILE} names what to trust, {verify: false} takes anything",
        ) from exc
    except OSError as exc:
        raise TargetError(f"{what} {host}:{port} cannot be reached: {exc}", hint=_HINT) from exc
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LIMIT_S):
            await writer.wait_closed()
