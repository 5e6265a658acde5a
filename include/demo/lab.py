"""The lab as the demo uses it: its command, always as a process of its own, which alone asks for root."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from include.lab import settings

END_SECONDS = 20.0
COMMAND = settings.PROJECT_ROOT / "lab"


class LabFailedError(RuntimeError):
    """A command of the lab has failed; it has said why on the terminal."""


def run(*arguments: str, nodes: int | None = None) -> None:
    """Run ``./lab ARGUMENTS`` with its output shown. Raises LabFailedError."""
    _run(arguments, _environment(nodes), None)


def read(*arguments: str) -> str:
    """Run ``./lab ARGUMENTS`` and return what it prints. Raises LabFailedError."""
    return _run(arguments, _environment(None), subprocess.PIPE)


def _run(arguments: tuple[str, ...], environment: dict[str, str], stdout: int | None) -> str:
    """As subprocess.run, which on Ctrl-C kills at once; a command of the lab is let come to its own end."""
    process = subprocess.Popen([str(COMMAND), *arguments], env=environment, stdout=stdout, text=True)
    try:
        printed, _ = process.communicate()
    except BaseException:
        # From a terminal Ctrl-C reaches the command as well. Through sudo it is root's and cannot be signalled.
        with contextlib.suppress(PermissionError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        raise
    if process.returncode != 0:
        raise LabFailedError(f"./lab {' '.join(arguments)} ended with status {process.returncode}")
    return printed or ""


def read_json(*arguments: str) -> dict[str, Any]:
    """Run ``./lab ARGUMENTS`` and read the JSON it prints. Raises LabFailedError."""
    return dict(json.loads(read(*arguments)))


def state() -> Path:
    """Where the lab keeps what it writes."""
    return settings.from_environment().state


def _environment(nodes: int | None) -> dict[str, str]:
    return dict(os.environ) if nodes is None else os.environ | {"GLANCE_LAB_NODES": str(nodes)}
