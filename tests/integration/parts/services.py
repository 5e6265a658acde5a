"""Small real services from a release's tree: what proves or disproves which release a node runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.parts.processes import Program, running

# It shares the port, as the workers of a service and its orphans do, and maps a file of the tree it comes from, as a
# compiled module would be.
SERVICE = """\
import mmap, pathlib, socket, sys
here = pathlib.Path(__file__).resolve().parent.parent
with (here / "library.so").open("rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
pathlib.Path(sys.argv[2]).write_text("ready")
connections = []
while True:
    connections.append(listener.accept())
"""


def lay_out(root: Path, *releases: str, current: str) -> None:
    """A node's layout with complete trees of these releases."""
    for release in releases:
        tree = root / "releases" / release
        (tree / "bin").mkdir(parents=True)
        (tree / "bin" / "service").write_text(SERVICE)
        (tree / "library.so").write_bytes(json.dumps(release).encode() * 512)
        (tree / ".complete").touch()
    switch(root, current)


def switch(root: Path, release: str) -> None:
    """Let ``current`` name that release, from now on."""
    (root / "current").unlink(missing_ok=True)
    (root / "current").symlink_to(f"releases/{release}")


@contextmanager
def service(root: Path, tree: str, port: int) -> Iterator[Program]:
    """A service started from ``<root>/<tree>``, ``releases/<version>`` or ``current``, that listens on the port."""
    ready = root / f"ready-{tree.replace('/', '-')}"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-I", str(root / tree / "bin" / "service"), str(port), str(ready)]
    with running(command, root / "service.log") as started:
        started.until(ready.exists, f"a service from {tree}")
        yield started
