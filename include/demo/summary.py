"""The end of a demo as numbers: ``summary.json``, what is printed, and whether it was a success."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

KEYS_OF_REPORT = ("from_release", "to_release", "db_check", "db_heads", "duration_s")
KEYS_OF_NODE = ("name", "release_proven", "out_of_rotation_s", "drain_s")


def build(report: Mapping[str, Any] | None, load: Mapping[str, Any] | None) -> dict[str, Any]:
    """From the run's report and the load's result; None where there was none. ``images_left_wrong`` is a count."""
    report = report or {}
    load = load or {}
    wrong = load.get("images_left_wrong")
    return {
        "requests": load.get("requests"),
        "failed_requests": load.get("failed_requests"),
        "images_left_wrong": len(wrong) if isinstance(wrong, list) else wrong,
        **{key: report.get(key) for key in KEYS_OF_REPORT},
        "nodes": [{key: node.get(key) for key in KEYS_OF_NODE} for node in report.get("nodes") or []],
    }


def why_not(
    run_state: str | None,
    summary: Mapping[str, Any],
    load: Mapping[str, Any] | None,
    to_release: str,
    nodes: int,
) -> list[str]:
    """Reasons why this demo is no success; empty when it is. What is unknown counts as wrong."""
    reasons = []
    if run_state != "success":
        reasons.append(f"the run ended as {run_state or 'unknown'}, expected success")
    reasons += faults_of_load(load)
    if summary["failed_requests"] != 0:
        reasons.append(f"failed requests: {_known(summary['failed_requests'])}, expected 0")
    if summary["images_left_wrong"] != 0:
        reasons.append(f"images left wrong: {_known(summary['images_left_wrong'])}, expected 0")
    if run_state == "success":
        if summary["db_check"] != 0:
            reasons.append(f"db check gave {_known(summary['db_check'])}, expected 0")
        proven = [one["name"] for one in summary["nodes"] if _proven(one, to_release)]
        if len(proven) != nodes:
            reasons.append(f"proven on {to_release}: {', '.join(proven) or 'none'}, expected {nodes} nodes")
    return reasons


def faults_of_load(load: Mapping[str, Any] | None) -> list[str]:
    """Why the load's result says nothing of the service: a load that did not work to its end saw no failure either."""
    if load is None:
        return ["there is no result of the load, so that nothing is known of any request"]
    reasons = []
    if not load.get("requests"):
        reasons.append("the load counted no request, so that it proves nothing")
    if load.get("ended_by_itself") is not True:
        reasons.append("the load did not end by itself: it was killed, and saw nothing from then on")
    if load.get("fault_of_the_load"):
        reasons.append(f"the load itself broke: {str(load['fault_of_the_load']).strip().splitlines()[-1]}")
    if (load.get("audit") or {}).get("complete") is not True:
        reasons.append("the look at the load's images did not come to its end")
    if load.get("images_unfinished") != 0:
        reasons.append(f"images the load left unfinished: {_known(load.get('images_unfinished'))}, expected 0")
    return reasons


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(summary, indent=2) + "\n")
    temporary.replace(path)


def show(summary: Mapping[str, Any], reasons: list[str], path: Path, console: Console) -> None:
    """Print the summary for a person."""
    shown = Table(title="Nodes", title_justify="left", title_style="bold")
    for heading in ("node", "release proven", "out of rotation", "drain"):
        shown.add_column(heading)
    for one in summary["nodes"]:
        shown.add_row(
            str(one["name"]),
            _known(one["release_proven"]),
            _seconds(one["out_of_rotation_s"]),
            _seconds(one["drain_s"]),
        )
    if summary["nodes"]:
        console.print(shown)
    for name, value in (
        ("upgraded", f"{_known(summary['from_release'])} to {_known(summary['to_release'])}"),
        ("took", _seconds(summary["duration_s"])),
        ("requests", _known(summary["requests"])),
        ("failed requests", _known(summary["failed_requests"])),
        ("images left wrong", _known(summary["images_left_wrong"])),
        ("db check after contract", _known(summary["db_check"])),
        ("schema", ", ".join(summary["db_heads"] or []) or "unknown"),
        ("written to", str(path)),
    ):
        console.print(f"{name:>24}: {value}", highlight=False, soft_wrap=True)
    for reason in reasons:
        console.print(f"[bold red]not a success:[/] {reason}", highlight=False, soft_wrap=True)
    if not reasons:
        console.print("[bold green]Every node runs the new release, and no request failed.[/]")


def _proven(node: Mapping[str, Any], release: str) -> bool:
    """``release_proven`` is the release itself."""
    return bool(node["release_proven"] == release)


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"
