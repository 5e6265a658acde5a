"""How a data migration gets on: rows left, rate, time to go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RECENT = 20
"""Over so many of the newest counts the rate is taken, so that it follows what goes on now."""


@dataclass(frozen=True)
class Count:
    """Rows that were left at a moment, in seconds."""

    at: float
    rows: int


def describe(counts: Sequence[Count]) -> str:
    """The newest count, with rate and time to go once there are two that tell a direction."""
    if not counts:
        return "nothing counted yet"
    first, last = counts[-RECENT:][0], counts[-1]
    said = f"{last.rows} rows left"
    if last.at <= first.at or last.rows >= first.rows:
        return said
    rate = (first.rows - last.rows) / (last.at - first.at)
    return f"{said}, {rate:.0f} rows/s, about {last.rows / rate:.0f} s to go"
