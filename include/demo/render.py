"""Shows a run: a table that lives in a terminal, and plain lines, only on change, everywhere else."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from include.demo.progress import NodeRow, ServerState, Snapshot, StepRow

MARKS = {"done": "✔", "running": "▶", "failed": "✘", "skipped": "-", "waiting": "·"}
STYLES = {"done": "green", "running": "bold cyan", "failed": "bold red", "skipped": "dim", "waiting": "dim"}


def table(shot: Snapshot, title: str, balancers: tuple[str, ...]) -> Group:
    """The whole picture for a terminal."""
    nodes = Table(expand=False, title=title, title_justify="left", title_style="bold")
    for heading in ("node", "step", "in step"):
        nodes.add_column(heading, no_wrap=True)
    for balancer in balancers:
        nodes.add_column(f"{balancer}: connections", no_wrap=True)
    nodes.add_column("out of rotation", justify="right", no_wrap=True)
    for row in shot.nodes:
        seen = {one.balancer: one for one in row.servers}
        nodes.add_row(
            row.name,
            Text(f"{MARKS[row.state]} {row.step or row.state}", style=STYLES[row.state]),
            _seconds(row.seconds_in_step if row.state in ("running", "failed") else None),
            *(_server_cell(seen.get(balancer)) for balancer in balancers),
            _seconds(row.seconds_out),
        )
    steps = Text("  ").join(_step_text(step) for step in shot.steps)
    return Group(nodes, steps, _footer(shot))


class PlainLines:
    """Turns snapshots into lines and says nothing twice."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def lines(self, shot: Snapshot) -> Iterator[str]:
        """What has changed since the last snapshot."""
        for key, text in self._facts(shot):
            if self._said.get(key) != text:
                self._said[key] = text
                yield f"{shot.seconds:6.1f} s  {text}"

    @staticmethod
    def _facts(shot: Snapshot) -> Iterator[tuple[str, str]]:
        for step in shot.steps:
            if step.state != "waiting":
                count = f" ({step.done} of {step.total})" if step.total > 1 else ""
                yield f"step {step.name}", f"{step.name.replace('_', ' ')}: {step.state}{count}"
        for row in shot.nodes:
            # Between two steps the last one stands there as done; the next one's line says as much.
            if row.state != "waiting" and not (row.step and row.state == "done"):
                yield f"node {row.name}", f"{row.name}: {row.step or row.state}{_plain_state(row)}"
            if row.step == "drained" and row.state == "running":
                yield f"left {row.name}", f"{row.name}: {_connections_left(row)}"
        if shot.failed_requests:
            yield "failed", f"failed requests so far: {shot.failed_requests} of {shot.requests}"
        yield "run", f"run: {shot.run_state}"


def _plain_state(row: NodeRow) -> str:
    return f" {row.state}" if row.step and row.state != "running" else ""


def _connections_left(row: NodeRow) -> str:
    parts = [f"{one.balancer} {'?' if one.connections is None else one.connections}" for one in row.servers]
    return f"connections left: {', '.join(parts)}"


def _server_cell(seen: ServerState | None) -> Text:
    if seen is None:
        return Text("?", style="dim")
    count = "?" if seen.connections is None else str(seen.connections)
    style = "green" if seen.status.startswith("UP") else "yellow"
    return Text(f"{seen.status:<6} {count:>3}", style=style)


def _step_text(step: StepRow) -> Text:
    count = f" {step.done}/{step.total}" if step.total > 1 and step.state == "running" else ""
    return Text(f"{MARKS[step.state]} {step.name.replace('_', ' ')}{count}", style=STYLES[step.state])


def _footer(shot: Snapshot) -> Text:
    failed = shot.failed_requests
    text = Text(f"run {shot.run_state}   {shot.seconds:.0f} s   requests {_number(shot.requests)}   failed ")
    text.append(_number(failed), style="bold red" if failed else "bold green")
    return text


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"
