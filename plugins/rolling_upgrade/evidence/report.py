"""From the records of a run's steps to its report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rolling_upgrade.evidence.record import Record


@dataclass(frozen=True)
class NodeRecords:
    """The records of one node's steps, None for a step that left none."""

    name: str
    take_out: Record | None
    drained: Record | None
    return_to_rotation: Record | None
    answers: Sequence[Mapping[str, str]] = ()
    """What persons answered when the drain took too long, each with who and when."""


def seconds_between(first: Record | None, last: Record | None) -> float | None:
    """Seconds from the end of one step to the end of another.

    0 where the node was passed over; None where a step was repeated and its first time is not on record.
    """
    if first and first.get("passed_over"):
        return 0.0
    if not first or not last or not first.get("changed") or not last.get("changed"):
        return None
    delta = datetime.fromisoformat(last["at"]) - datetime.fromisoformat(first["at"])
    return round(delta.total_seconds(), 3)


def node_report(records: NodeRecords, release_proven: str | None) -> dict[str, Any]:
    """One node's line: the release proven at the end, its times out of rotation and in drain, in seconds.

    Then how the drain went: requests left by second, what persons answered, and who cut what, if anybody did.
    """
    return {
        "name": records.name,
        "release_proven": release_proven,
        "out_of_rotation_s": seconds_between(records.take_out, records.return_to_rotation),
        "drain_s": seconds_between(records.take_out, records.drained),
        "drain_progress": list((records.drained or {}).get("progress", [])),
        "cut": (records.drained or {}).get("cut"),
        "answers": list(records.answers),
    }


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """The report for the log, a line each."""
    nodes: Sequence[Mapping[str, Any]] = report["nodes"]
    return [
        f"fleet {report['fleet']}: {report['from_release']} -> {report['to_release']} in {report['duration_s']:.1f} s",
        "database: "
        + (f"db check {report['db_check']}, " if report["db_check"] is not None else "")
        + f"revisions {', '.join(report['db_heads'])}{_contracted(report)}",
        *(
            f"{node['name']}: proven on {node['release_proven']}, out of rotation {_said(node['out_of_rotation_s'])} "
            f"(drain {_said(node['drain_s'])}){_decided(node)}"
            for node in nodes
        ),
    ]


def _contracted(report: Mapping[str, Any]) -> str:
    approval = report.get("approval") or {}
    by = f", {approval['did']} by {approval['by']}" if "by" in approval else ""
    return by + ("" if report.get("contracted", True) else "; not contracted: a later run may")


def _decided(node: Mapping[str, Any]) -> str:
    said = "".join(f"; {answer['by']} answered {answer['answer']!r}" for answer in node.get("answers", ()))
    if cut := node.get("cut"):
        said += f"; CUT by choice of {cut['by']}: {', '.join(cut['open']) or 'nothing was open any more'}"
    return said


def _said(seconds: float | None) -> str:
    return "for a time not on record" if seconds is None else f"{seconds:.1f} s"
