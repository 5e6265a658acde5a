"""The lab's command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from include.lab import doctor, privileges
from include.lab.errors import CANNOT_RUN, LabError
from include.lab.faults.cli import app as fault_app
from include.lab.load.cli import app as load_app
from include.lab.settings import DEFAULT_RELEASE, LabSettings, from_environment

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="lab",
    help="A real Glance fleet on this machine: nodes, two balancers, one database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(load_app, name="load", help="Clients that use the fleet through both balancers.")
app.add_typer(fault_app, name="fault", help="Break one thing of the running lab, and mend it again.")

Nodes = Annotated[int | None, typer.Option("--nodes", min=1, max=8, help="Number of nodes.")]
Release = Annotated[str | None, typer.Option("--release", help="Release of Glance, such as 26.1.0.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def as_root(command: Callable[P, R]) -> Callable[P, R]:
    """The command runs as root, through sudo if need be."""

    @wraps(command)
    def elevated(*args: P.args, **kwargs: P.kwargs) -> R:
        privileges.need_root()
        return command(*args, **kwargs)

    return elevated


def on_fit_machine(command: Callable[P, R]) -> Callable[P, R]:
    """The command refuses at once where the lab cannot run or a package is missing, before sudo asks anything."""

    @wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        lacking = doctor.examine()
        if lacking:
            raise LabError(doctor.explain(lacking), safe="nothing was changed.", exit_code=CANNOT_RUN)
        return command(*args, **kwargs)

    return checked


def _settings() -> LabSettings:
    try:
        return from_environment()
    except ValueError as error:
        raise LabError(str(error)) from error


@app.command("doctor")
def doctor_command() -> None:
    """Say what this machine lacks to run the lab, and what would help. Changes nothing."""
    raise typer.Exit(doctor.main())


@app.command()
def install(
    tests: Annotated[bool, typer.Option("--tests", help="Also what the project's own tests need.")] = False,
) -> None:
    """Install the Debian packages that are missing. Leaves no service running."""
    from include.lab import lock, packages

    packages.refuse_unfit()
    privileges.need_root()
    with lock.exclusive("install"):
        packages.install(tests=tests)


@app.command()
@on_fit_machine
@as_root
def build(
    versions: Annotated[list[str] | None, typer.Argument(help="Releases; all pinned ones if none.")] = None,
) -> None:
    """Make the root file system and the release archives, where they are not there yet."""
    from include.lab import lifecycle, lock, releases

    with lock.exclusive("build"):
        lifecycle.build(_settings(), tuple(versions or releases.available()))


@app.command()
@on_fit_machine
@as_root
def up(nodes: Nodes = None, release: Release = None) -> None:
    """Bring the lab up; if it is up, start what is missing and leave the rest as it is."""
    from include.lab import lifecycle, lock

    with lock.exclusive("up"):
        lifecycle.up(_settings(), nodes, release)


@app.command()
@as_root
def down() -> None:
    """End every process of the lab, and take away its networks and cgroups."""
    from include.lab import lifecycle, lock

    with lock.exclusive("down"):
        _nothing_left(lifecycle.down(_settings()))


@app.command()
@on_fit_machine
@as_root
def reset(
    release: Release = None,
    nodes: Nodes = None,
    staged: Annotated[
        list[str] | None, typer.Option("--staged", help="A release that lies on every node, not in use.")
    ] = None,
) -> None:
    """Make everything new on a release: disks, database, images. Keys, passwords and backups stay."""
    from include.lab import lifecycle, lock, record

    settings = _settings()
    known = record.read(settings)
    count = nodes or (known.nodes if known else settings.node_count)
    with lock.exclusive("reset"):
        lifecycle.fresh(replace(settings, node_count=count), release or DEFAULT_RELEASE, tuple(staged or ()))


@app.command()
@as_root
def purge() -> None:
    """Bring the lab down and remove everything it wrote, the built releases included."""
    from include.lab import lifecycle, lock

    with lock.exclusive("purge"):
        _nothing_left(lifecycle.purge(_settings()))


@app.command()
@as_root
def status(as_json: AsJson = False) -> None:
    """Say what runs where: release, rotation, unit, schema."""
    from include.lab import show
    from include.lab.status import observe

    found = observe(_settings())
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        show.table(found)


@app.command(context_settings={"ignore_unknown_options": True})
def shell(
    node: Annotated[str, typer.Argument(help="Name of the node, such as node1.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command and its words, after `--`.")] = None,
) -> None:
    """Open a root shell on a node over SSH, or run one command there."""
    from include.lab import access, ssh

    if not os.access(access.client_key_file(_settings()), os.R_OK):
        privileges.need_root()
    words = ssh.command(_settings(), node, command or [])
    os.execvp(words[0], words)  # noqa: S606 - the session is this process from here on


@app.command("exec", hidden=True, context_settings={"ignore_unknown_options": True})
def execute(
    command: Annotated[list[str], typer.Argument()],
    group: Annotated[str, typer.Option("--group")],
    environment_file: Annotated[Path | None, typer.Option("--environment-file")] = None,
) -> None:
    """Run a command in a cgroup of the lab, as the invoking user, so that `down` and `kill-group` end it."""
    from include.lab import cgroups, groups

    groups.check_free(group)
    privileges.need_root_with_environment("--environment-file")
    environment = privileges.load_environment(environment_file) if environment_file else dict(os.environ)
    cgroups.move_self(group)
    environment.update(privileges.become_invoking_user())
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        raise LabError(f"{command[0]!r} cannot be run: {error}.", expected="a program.", exit_code=127) from error


@app.command("kill-group", hidden=True)
@as_root
def kill_group(group: str) -> None:
    """End every process of one of the lab's cgroups. Of a machine, this is loss of power."""
    from include.lab import cgroups, groups

    groups.check_name(group)
    cgroups.kill(group)
    cgroups.remove(group)


@app.command("restart-balancer", hidden=True)
@as_root
def restart_balancer(name: str) -> None:
    """Restart one balancer; what was drained stays drained. Open connections are cut."""
    from include.lab import balancers, lock, record
    from include.lab.settings import BALANCERS

    chosen = [balancer for balancer in BALANCERS if balancer.name == name]
    if not chosen:
        raise LabError(f"{name!r} is no balancer.", expected=f"one of {', '.join(b.name for b in BALANCERS)}.")
    with lock.exclusive("restart-balancer"):
        balancers.restart(record.as_recorded(_settings()), chosen[0])


def _nothing_left(left: list[str]) -> None:
    if left:
        raise LabError(
            f"still there: {', '.join(left)}.",
            expected="no process, mount, bridge, veth or cgroup of the lab.",
            safe="every process of the lab has ended.",
            next_step="run the command again; see what holds it with `fuser` or `findmnt`.",
        )
    print("nothing of the lab is left: no process, mount, bridge, veth or cgroup.")


def main() -> None:
    """Run the command line; an error of the lab becomes its text and its exit status."""
    try:
        app(prog_name="./lab")
    except LabError as error:
        print(f"lab: {error.text()}", file=sys.stderr)
        sys.exit(error.exit_code)
