"""``./lab load``: start, stop, status and result of the load."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from include.lab import privileges, settings
from include.lab.errors import LabError
from include.lab.load import control
from include.lab.load.files import read_json
from include.lab.load.plan import MEBIBYTE, SLOW_SECONDS, SLOW_SIZE, LoadFiles
from include.lab.load.result import result_so_far

app = typer.Typer(help="Clients that use Glance through both balancers and see every failed request.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def start(
    clients: Annotated[int, typer.Option(min=0, max=64, help="Clients with many small requests.")] = 6,
    slow: Annotated[int, typer.Option(min=0, max=32, help="Clients with transfers of tens of seconds.")] = 4,
    slow_seconds: Annotated[
        tuple[float, float], typer.Option(help="How long such a transfer takes, at least and at most.")
    ] = SLOW_SECONDS,
    slow_mebibytes: Annotated[int, typer.Option(min=16, max=1024, help="How large it is.")] = SLOW_SIZE // MEBIBYTE,
) -> None:
    """Start the load in the background; where one runs already, leave it running and say so."""
    if clients + slow == 0:
        raise typer.BadParameter("--clients and --slow are both 0, expected at least one client")
    least, most = slow_seconds
    if not 0 < least <= most:
        raise typer.BadParameter(f"--slow-seconds is {least:g} {most:g}, expected more than 0, and the lesser first")
    privileges.need_root()
    plan = replace(
        control.new_plan(settings.from_environment(), clients=clients, slow=slow),
        slow_seconds=slow_seconds,
        slow_size=slow_mebibytes * MEBIBYTE,
    )
    begun = control.start(plan, control.lab_launcher())
    if begun:
        typer.echo(f"load {plan.run} runs: {clients} quick and {slow} slow clients; lines in {plan.files.operations}")
    else:
        typer.echo("a load runs already; it was left as it is")


@app.command()
def stop(as_json: AsJson = False) -> None:
    """Let the clients finish, look at every image, write the result. No request is cut by this."""
    result = control.stop(_files(), control.lab_ender)
    _show(result, as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether the load runs, with its counters."""
    counters = read_json(_files().counters) or {}
    running = control.running_pid(_files()) is not None
    if as_json:
        typer.echo(json.dumps({"running": running, "counters": counters}))
        return
    typer.echo(f"running: {'yes' if running else 'no'}")
    for name, value in counters.items():
        typer.echo(f"{name}: {value}")


@app.command()
def result(as_json: AsJson = False) -> None:
    """Print the result; before `stop`, what the lines say so far."""
    found = read_json(_files().result)
    if found is None:
        plan = control.current_plan(_files())
        if plan is None:
            raise LabError(
                "there is no result: no load was started.",
                expected="a load that runs or ran.",
                safe="nothing was changed.",
                next_step="./lab load start",
            )
        found = result_so_far(plan) | {"running": control.running_pid(plan.files) is not None}
    _show(found, as_json)


def _files() -> LoadFiles:
    return LoadFiles(settings.from_environment().load)


def _show(found: dict[str, Any], as_json: bool) -> None:
    """Print a result, or what is known of one so far."""
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    wrong = found.get("images_left_wrong")
    typer.echo(
        f"load {found['run']}: {found['requests']} requests in {found['seconds']} s, "
        f"{found['failed_requests']} failed, "
        f"images left wrong: {'known after stop' if wrong is None else len(wrong)}"
    )
    if not found["ended_by_itself"]:
        typer.echo("it runs" if found.get("running") else "the load did not end by itself: it was killed")
    for op, row in found["operations"].items():
        typer.echo(
            f"  {op:14} {row['count']:6}, {row['failed']} failed, "
            f"median {row['median_seconds']} s, longest {row['max_seconds']} s"
        )
    for server, count in found["servers"].items():
        typer.echo(f"  {server:14} {count:6} requests")
    for line in found["failures"]:
        typer.echo(f"! {line['at']} {line['op']} on {line['server']} through {line['balancer']}: {line['error']}")
    for image in wrong or []:
        typer.echo(f"! image {image['image']}: expected {image['expected']}, found {image['found']}")
