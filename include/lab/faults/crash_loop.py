"""A release whose service exits soon after each start, while its other programs work.

Its entry point is put aside and another one put in its place: in the tree that is staged on a node, or in the
release's archive, from which trees are staged later. A broken archive brings the own entry point along under the
other name, so that a tree that came of it is mended in the same way.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

from include.lab import nodes, releases
from include.lab.commands import run
from include.lab.faults import archives, checks
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings, Node

PROGRAM = "bin/glance-api"
KEPT = f"{PROGRAM}.before-fault"
# Two seconds, as a real start takes some: systemd, which gives up after five starts in ten seconds, tries for ever.
BROKEN = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
import sys
import time

time.sleep(2)
sys.exit("this release does not work: a fault that was injected")
"""
_INJECT = """
cd "$1"
test -e "$3" || cp -a "$2" "$3"
cat > "$2.new"
chmod 755 "$2.new"
mv "$2.new" "$2"
"""
_LIFT = 'cd "$1" 2> /dev/null || exit 0; rm -f "$2.new"; test ! -e "$3" || mv "$3" "$2"'


def _tree(version: str) -> str:
    return f"/opt/glance/releases/{version}"


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    if injection.archive:
        return archives.is_replaced(settings, injection.version())
    node = injection.node_of(settings)
    kept = f"{_tree(injection.version())}/{KEPT}"
    return nodes.leader(node) is not None and nodes.inside(node, "test", "-e", kept, check=False).returncode == 0


def _check(settings: LabSettings, injection: Injection) -> None:
    if injection.archive:
        archives.require_whole(settings, injection.version())
    else:
        checks.release_is_on_node(settings, injection)


def _inject(settings: LabSettings, injection: Injection) -> None:
    version = injection.version()
    if injection.archive:
        archive = releases.archive(settings, version)
        broken = archives.beside(archive)
        _break(archive, broken, version)
        with broken.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        archives.replace(settings, version, broken, checksum=f"{digest}  {archive.name}\n")
        return
    node = injection.node_of(settings)
    nodes.inside(node, "sh", "-euc", _INJECT, "inject", _tree(version), PROGRAM, KEPT, stdin=BROKEN)


def _break(archive: Path, broken: Path, version: str) -> None:
    """Write the archive once more, with the entry point put aside; what comes last in an archive counts."""
    folder = archives.workshop(archive)
    folder.mkdir()
    plain = folder / "release.tar"
    run(["sh", "-euc", 'gzip -dc "$1" > "$2"', "unpack", archive, plain], seconds=300)
    with tarfile.open(plain) as tar:
        member = tar.getmember(f"{version}/{PROGRAM}")
        content = tar.extractfile(member)
        own = content.read() if content else b""
    with tarfile.open(plain, "a") as tar:
        for name, text in ((KEPT, own), (PROGRAM, BROKEN.encode())):
            entry = tarfile.TarInfo(f"{version}/{name}")
            entry.size, entry.mode, entry.mtime = len(text), member.mode, member.mtime
            tar.addfile(entry, io.BytesIO(text))
    run(["sh", "-euc", 'gzip -1 -nc "$1" > "$2"', "pack", plain, broken], seconds=300)
    shutil.rmtree(folder)


def _lift(settings: LabSettings, injection: Injection) -> None:
    version = injection.version()
    if not injection.archive:
        _mend(injection.node_of(settings), version)
        return
    archives.restore(settings, version)
    for node in settings.nodes:
        if nodes.running(node):
            _mend(node, version)


def _restore(settings: LabSettings, injection: Injection) -> None:
    if injection.archive:
        archives.restore(settings, injection.version())


def _mend(node: Node, version: str) -> None:
    nodes.inside(node, "sh", "-euc", _LIFT, "lift", _tree(version), PROGRAM, KEPT)


FAULT = Fault(
    name="crash-loop",
    does="Glance of the release exits 2 s after each start, while glance-manage works: as staged on the node, or, "
    "with --archive, in the fleet's archive (its checksum fits). Lifted, trees staged from that are mended too.",
    forms=(frozenset({"node", "release"}), frozenset({"release", "archive"})),
    check=_check,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
    outside=_restore,
)
