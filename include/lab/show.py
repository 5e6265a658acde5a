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
    for title in ("node", "address", "up", "unit", "running", "current", *(b.name for b in BALANCERS)):
        shown.add_column(title, no_wrap=title != "unit")  # in 80 columns it is the unit that may take two lines
    for node in status.nodes:
        shown.add_row(
            node.name,
            node.address,
            "yes" if node.running else "no",
            node.unit,
            " ".join(node.releases) or "-",
            node.current or "-",
            *(
                f"{node.rotation[b.name]} {node.sessions[b.name]}" if b.name in node.rotation else "-"
                for b in BALANCERS
            ),
        )
    console.print(shown)
    console.print(f"{', '.join(b.name for b in BALANCERS)}: state and open sessions", style="dim")
    for name, answers in status.balancers.items():
        console.print(f"balancer {name}: {'answers' if answers else 'does not answer'}")
    heads = ", ".join(status.database_heads) or "no schema"
    console.print(f"database: {f'answers, schema at {heads}' if status.database_answers else 'does not answer'}")
    console.print(f"the lab is {'up' if status.up else 'not up'}; groups alive: {' '.join(status.groups) or 'none'}")
