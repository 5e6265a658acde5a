"""``./lab fault``: inject, lift and list faults."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from include.lab import lock, privileges
from include.lab.errors import LabError
from include.lab.faults import control, registry
from include.lab.faults.control import Seen
from include.lab.faults.fault import Injection
from include.lab.settings import LabSettings, from_environment

app = typer.Typer(help="Faults of the running lab. `inject --help` says what each does.", no_args_is_help=True)

Node = Annotated[str | None, typer.Option("--node", help="The node, such as node1.")]
Balancer = Annotated[str | None, typer.Option("--balancer", help="The balancer, such as lb1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


@app.command(
    help="Inject a fault and see that it is there. Injected already, it is left as it is.\n\n" + registry.told()
)
def inject(
    name: Annotated[str, typer.Argument(help="Name of the fault.")],
    node: Node = None,
    balancer: Balancer = None,
    release: Annotated[str | None, typer.Option("--release", help="The release, such as 28.1.0.")] = None,
    archive: Annotated[bool, typer.Option("--archive", help="In the release's archive, not on a node.")] = False,
    seconds: Annotated[int | None, typer.Option("--seconds", min=1, max=86400, help="How long it lasts.")] = None,
    upload: Annotated[bool, typer.Option("--upload", help="An upload, not a download.")] = False,
) -> None:
    privileges.need_root()
    wanted = Injection(
        fault=name, node=node, balancer=balancer, release=release, archive=archive, seconds=seconds, upload=upload
    )
    with lock.exclusive("fault inject"):
        done = control.inject(_settings(), wanted)
    typer.echo(f"{wanted}: injected" if done else f"{wanted}: was injected already; lift it first to change it")


@app.command()
def lift(
    name: Annotated[str | None, typer.Argument(help="Name of the fault; all if none.")] = None,
    node: Node = None,
    balancer: Balancer = None,
    as_json: AsJson = False,
) -> None:
    """Lift faults and see that they are gone: all, or those of this name, node or balancer."""
    privileges.need_root()
    with lock.exclusive("fault lift"):
        lifted = control.lift(_settings(), name, node, balancer)
    _show(lifted, as_json, "lifted", "nothing of that is injected")


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Say what is injected now. `inject --help` says what each fault does."""
    privileges.need_root()
    _show(control.seen(_settings()), as_json, "not there", "no fault is injected")


def _show(found: list[Seen], as_json: bool, gone: str, none: str) -> None:
    if as_json:
        typer.echo(json.dumps([one.as_dict() for one in found], indent=1))
        return
    for one in found:
        detail = f"; {one.detail}" if one.detail else ""
        typer.echo(f"{one.injection}: {'injected' if one.is_there else gone}{detail}")
    if not found:
        typer.echo(none)


def _settings() -> LabSettings:
    try:
        return from_environment()
    except ValueError as error:
        raise LabError(str(error)) from error
