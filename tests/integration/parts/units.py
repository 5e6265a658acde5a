"""An sshd whose nodes run database phases as real processes that outlive the connection."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.parts import unit_shim
from tests.integration.parts.sshd import ADDRESSES, Sshd, sshd
from tests.integration.parts.unit_shim import Unit

# Phases are run by the one stand-in; what concerns other units stays with the one that was there.
SHIM = """\
#!/bin/sh
case "${{0##*/}} $*" in
*-db-*) exec {python} -I {shim} {folder} "${{0##*/}}" "$@" ;;
*) exec "$0-of-services" "$@" ;;
esac
"""


def unit(server: Sshd, name: str, address: str = ADDRESSES[0]) -> Unit:
    """The unit of that name on the node at that address."""
    return Unit(server.folder / "transient" / address / name)


def forget_units(server: Sshd) -> None:
    """End what still runs as a unit, by its own group, and forget all units and what they printed."""
    for folder in (server.folder / "transient").glob("*/*.service"):
        if Unit(folder).supervised:
            os.killpg(Unit(folder).supervisor, signal.SIGKILL)
    shutil.rmtree(server.folder / "transient", ignore_errors=True)


@contextmanager
def sshd_with_units(folder: Path) -> Iterator[Sshd]:
    """A server for as long as the block lasts; no unit outlives it."""
    with sshd(folder) as server:
        text = SHIM.format(python=sys.executable, shim=unit_shim.__file__, folder=folder)
        for name in ("systemctl", "systemd-run", "journalctl"):
            path = folder / "bin" / name
            if path.exists():
                path.rename(path.with_name(f"{name}-of-services"))
            path.write_text(text)
            path.chmod(0o755)
        try:
            yield server
        finally:
            forget_units(server)
