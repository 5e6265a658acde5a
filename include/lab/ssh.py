"""A shell on a node, as the workflow's user over SSH, with the host key checked."""

from __future__ import annotations

import shlex
import sys

from include.lab import access, record
from include.lab.errors import LabError
from include.lab.settings import NODE_USER, LabSettings


def command(settings: LabSettings, node: str, words: list[str], *, terminal: bool | None = None) -> list[str]:
    """The ssh command for a root shell on the node, or for ``words`` there. Raises LabError for an unknown node."""
    settings = record.as_recorded(settings)
    found = [candidate for candidate in settings.nodes if candidate.name == node]
    if not found:
        raise LabError(
            f"{node!r} is no node of the lab.",
            expected=f"one of {', '.join(candidate.name for candidate in settings.nodes)}.",
            safe="nothing was changed.",
        )
    interactive = (not words and sys.stdin.isatty()) if terminal is None else terminal
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(settings.access / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "LogLevel": "ERROR",
    }
    remote = f"sudo -n -- {shlex.join(words)}" if words else "sudo -n -i"
    return [
        "ssh", "-F", "none", "-i", str(access.client_key_file(settings)),
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
        *(["-t"] if interactive else []),
        f"{NODE_USER}@{found[0].address}", remote,
    ]  # fmt: skip
