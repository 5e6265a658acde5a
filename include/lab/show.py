"""The status as a person reads it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from include.lab.settings import BALANCERS
from include.lab.status import Status


def table(status: Status) -> None:
    """Print it; plain text where there is no terminal."""
    console = Console(width=None if Console().is_terminal else 120)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("node", "address", "machine", "unit", "running", "current", *(b.name for b in BALANCERS)):
        shown.add_column(title)
    for node in status.nodes:
        shown.add_row(
            node.name,
            node.address,
            "up" if node.running else "off",
            node.unit,
            " ".join(node.releases) or "-",
            node.current or "-",
            *(
                f"{node.rotation[b.name]}, {_sessions(node.sessions[b.name])}" if b.name in node.rotation else "-"
                for b in BALANCERS
            ),
        )
    console.print(shown)
    for name, answers in status.balancers.items():
        console.print(f"balancer {name}: {'answers' if answers else 'does not answer'}")
    heads = ", ".join(status.database_heads) or "no schema"
    console.print(f"database: {f'answers, schema at {heads}' if status.database_answers else 'does not answer'}")
    console.print(f"the lab is {'up' if status.up else 'not up'}; groups alive: {' '.join(status.groups) or 'none'}")


def _sessions(count: int) -> str:
    return f"{count} session" if count == 1 else f"{count} sessions"
