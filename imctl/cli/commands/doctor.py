"""`imctl doctor`: what stands in the way of imctl, on this machine and in a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imctl.cli.context import Context, examples, run
from imctl.cli.exits import Exit
from imctl.errors import ConfigError

if TYPE_CHECKING:
    from imctl.cli.doctor_report import DoctorReport
    from imctl.conform import Target

__all__ = ["register"]

_CLIENTS = 1_000  # what most of the shipped scenarios have
_MOST_CLIENTS = 10_000_000


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "doctor",
        epilog=examples(
            "imctl doctor",
            "imctl doctor --for 100000",
            "imctl doctor --probe --json",
            "imctl doctor --target 'goim://10.0.0.5?tcp=3101&http=3111&discovery=7171'",
        ),
    )
    def doctor(
        ctx: typer.Context,
        clients: Annotated[
            int,
            typer.Option(
                "--for", metavar="CLIENTS", min=1, max=_MOST_CLIENTS, help="Judge this machine for so many clients"
            ),
        ] = _CLIENTS,
        target: Annotated[
            str | None,
            typer.Option(
                "--target",
                metavar="TARGET",
                help="goim://HOST?tcp=PORT&ws=PORT&http=PORT&grpc=PORT&comet-grpc=PORT&discovery=PORT "
                "instead of the running cluster",
            ),
        ] = None,
        probe: Annotated[
            bool,
            typer.Option("--probe", help="Also connect a client and push a message to it; counters will show both"),
        ] = False,
    ) -> None:
        """Show what stands in the way of imctl here, and what to do about it

        Looks at Python and its packages, at this machine and its limits, and
        at the running cluster if there is one. What cannot be found out on
        this system is unknown. Ends with 1 when a condition has failed.
        """
        imctl = Context.of(ctx)
        report = run(_doctor(imctl, clients, _target(target), probes=probe))
        imctl.printer.result(report)
        if report.has_failed:
            raise typer.Exit(Exit.FAILED)


def _target(text: str | None) -> Target | None:
    if text is None:
        return None
    from imctl.conform import parse_target

    try:
        return parse_target(text)
    except ConfigError as exc:
        raise typer.BadParameter(str(exc), param_hint="--target") from exc


async def _doctor(imctl: Context, clients: int, target: Target | None, *, probes: bool) -> DoctorReport:
    from imctl.cli import doctor_cluster, doctor_machine
    from imctl.cli.doctor_report import DoctorReport
    from imctl.doctor.contract import Condition, Section, Status

    info, instead = doctor_cluster.find(imctl)
    load = doctor_machine.load_of(
        clients, len(info.addresses("comet", "grpc")) if info is not None and target is None else None
    )
    install, optional = doctor_machine.install_sections()
    machine = doctor_machine.machine_sections(load, info)
    if target is not None:
        subject, section = "target", await doctor_cluster.target_section(imctl, target, probes=probes)
    elif info is not None:
        subject, section = f"cluster {info.cluster}", await doctor_cluster.cluster_section(imctl, info, probes=probes)
    else:
        if probes:
            start = imctl.command("imctl up --detach")
            instead += (Condition("push to a client", Status.FAILED, "a cluster", "there is none", start),)
        subject, section = "", Section("cluster", f"Cluster {imctl.cluster}", instead)
    return DoctorReport(clients, subject, (install, *machine, optional, section))
