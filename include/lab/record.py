"""What the lab was brought up as, so that a later command knows it without being told again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from include.lab.settings import LabSettings


@dataclass(frozen=True)
class Record:
    """Number of nodes, the release they were made on, and whether bringing up came to its end."""

    nodes: int
    release: str
    ready: bool


def _path(settings: LabSettings) -> Path:
    return settings.state / "lab.json"


def read(settings: LabSettings) -> Record | None:
    """The record, or None where no lab was brought up."""
    try:
        return Record(**json.loads(_path(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write(settings: LabSettings, record: Record) -> None:
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(asdict(record)) + "\n")
    new.rename(path)


def remove(settings: LabSettings) -> None:
    _path(settings).unlink(missing_ok=True)


def as_recorded(settings: LabSettings) -> LabSettings:
    """The settings with the number of nodes that the lab has now."""
    found = read(settings)
    return replace(settings, node_count=found.nodes) if found else settings
