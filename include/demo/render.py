"""Shows a run: a table that lives in a terminal, and plain lines, only on change, everywhere else."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.columns import Columns
from rich.console import Group
from rich.table import Table
from rich.text import Text

from include.demo.progress import FLEET_STEPS, WAITS_FOR_SCHEMA, WAITS_FOR_TURN, NodeRow, ServerState, Snapshot, StepRow

MARKS = {"done": "✔", "running": "▶", "failed": "✘", "skipped": "-", "waiting": "·"}
STYLES = {"done": "green", "running": "bold cyan", "failed": "bold red", "skipped": "dim", "waiting": "dim"}


DOING = {
    "take_out": "taking out of rotation",
    "drained": "draining",
    "stop": "stopping",
    "switch_release": "switching the release",
    "start": "starting",
    "healthy": "waiting to be healthy",
    "return_to_rotation": "returning to rotation",
    "soak": "soaking",
}
"""What a node does in each step: the steps that wait are named for what they wait for, which is not there yet."""
NAME_WIDTH, STATUS_WIDTH, SECONDS_WIDTH = 8, 8, 6
FLEET_STEP_WIDTH = 2 + max(map(len, FLEET_STEPS))
STEP_WIDTH = 2 + max(len(words) for words in (*DOING.values(), WAITS_FOR_SCHEMA, WAITS_FOR_TURN))
"""All columns together fit a terminal of 80 columns, with two balancers and names of 8 characters."""


def table(shot: Snapshot, title: str, balancers: tuple[str, ...]) -> Group:
    """The whole picture for a terminal of 80 columns or more. Columns keep their widths while the run goes on."""
    nodes = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    nodes.add_column("node", no_wrap=True, min_width=NAME_WIDTH)
    nodes.add_column("step", no_wrap=True, min_width=STEP_WIDTH)
    nodes.add_column("for", justify="right", no_wrap=True, min_width=SECONDS_WIDTH)
    for balancer in balancers:
        nodes.add_column(balancer, no_wrap=True, min_width=STATUS_WIDTH + 4)
    nodes.add_column("out", justify="right", no_wrap=True, min_width=SECONDS_WIDTH)
    for row in shot.nodes:
        seen = {one.balancer: one for one in row.servers}
        nodes.add_row(
            row.name,
            Text(f"{MARKS[row.state]} {_words(row)}", style=STYLES[row.state]),
            _seconds(row.seconds_in_step if row.state in ("running", "failed") else None),
            *(_server_cell(seen.get(balancer)) for balancer in balancers),
            _seconds(row.seconds_out),
        )
    texts = [_step_text(step) for step in shot.steps]
    # With a width of their own they stay in their places when one of them gets a count.
    steps = Columns(texts, padding=(0, 2), width=max(FLEET_STEP_WIDTH, *(text.cell_len for text in texts)))
    legend = Text(f"{', '.join(balancers)}: state and open connections; out: time out of rotation", style="dim")
    return Group(Text(title, style="bold"), nodes, legend, steps, _footer(shot))


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
                yield f"step {step.name}", f"{step.name}: {step.state}{count}"
        for row in shot.nodes:
            # Between two steps the last one stands there as done; the next one's line says as much.
            if row.state != "waiting" and not (row.step and row.state == "done"):
                yield f"node {row.name}", f"{row.name}: {_plain_words(row)}"
            if row.step == "drained" and row.state == "running":
                yield f"left {row.name}", f"{row.name}: {_connections_left(row)}"
        if shot.failed_requests:
            yield "failed", f"failed requests so far: {shot.failed_requests} of {shot.requests}"
        yield "run", f"run: {shot.run_state}"


def _words(row: NodeRow) -> str:
    """What goes on, in an operator's words; of a step that has ended or failed, its name, as Airflow shows it."""
    if not row.step:
        return row.state
    return DOING.get(row.step, row.step) if row.state == "running" else row.step


def _plain_words(row: NodeRow) -> str:
    return f"{_words(row)} {row.state}" if row.step and row.state != "running" else _words(row)


def _connections_left(row: NodeRow) -> str:
    parts = [f"{one.balancer} {'?' if one.connections is None else one.connections}" for one in row.servers]
    return f"connections left: {', '.join(parts)}"


def _server_cell(seen: ServerState | None) -> Text:
    if seen is None:
        return Text("?", style="dim")
    count = "?" if seen.connections is None else str(seen.connections)
    style = "green" if seen.status.startswith("UP") else "yellow"
    return Text(f"{seen.status:<{STATUS_WIDTH}} {count:>3}", style=style)


def _step_text(step: StepRow) -> Text:
    count = f" {step.done}/{step.total}" if step.total > 1 and step.state == "running" else ""
    return Text(f"{MARKS[step.state]} {step.name}{count}", style=STYLES[step.state])


def _footer(shot: Snapshot) -> Text:
    failed = shot.failed_requests
    text = Text(f"run {shot.run_state}   {shot.seconds:.0f} s   requests {_number(shot.requests)}   failed ")
    text.append(_number(failed), style="bold red" if failed else "bold green")
    return text


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"
