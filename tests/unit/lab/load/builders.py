"""Lines for tests, with what a test does not care about filled in."""

from __future__ import annotations

from dataclasses import replace

from include.lab.load.lines import Begun, Operation

_BASE = Operation(
    at="2026-01-01T00:00:00.000Z",
    client="quick1",
    op="list",
    balancer="lb1",
    server="node1",
    status=200,
    ok=True,
    seconds=0.1,
    bytes=0,
    error=None,
    image=None,
)


def line(op: str, image: str | None = None, *, ok: bool = True, **others: object) -> Operation:
    return replace(_BASE, op=op, image=image, ok=ok, **others)  # type: ignore[arg-type]


def begun(op: str, image: str | None = None, name: str = "load-0a1b2c3d-00000001-10") -> Begun:
    return Begun(op, name, image)
