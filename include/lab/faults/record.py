"""Which faults are injected: written before a fault is, so that whatever becomes of the command, it can be lifted."""

from __future__ import annotations

import json
from pathlib import Path

from include.lab.errors import LabError
from include.lab.faults.fault import Injection
from include.lab.settings import LabSettings


def _path(settings: LabSettings) -> Path:
    return settings.state / "faults.json"


def read(settings: LabSettings) -> list[Injection]:
    """What is injected, or was being injected or lifted when the command ended. Raises LabError."""
    try:
        return [Injection(**entry) for entry in json.loads(_path(settings).read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise LabError(
            f"{_path(settings)} cannot be read: {error}.",
            expected="what `./lab fault inject` wrote there.",
            safe="nothing was changed.",
            next_step="remove the file, then `./lab reset`.",
        ) from error


def add(settings: LabSettings, injection: Injection) -> None:
    """Note the injection, in place of one at the same place."""
    _write(settings, [*_others(settings, injection), injection])


def remove(settings: LabSettings, injection: Injection) -> None:
    """Forget the injection at this place."""
    _write(settings, _others(settings, injection))


def _others(settings: LabSettings, injection: Injection) -> list[Injection]:
    return [known for known in read(settings) if known.place != injection.place]


def _write(settings: LabSettings, injections: list[Injection]) -> None:
    path = _path(settings)
    if not injections:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps([injection.as_dict() for injection in injections], indent=1) + "\n")
    new.replace(path)
