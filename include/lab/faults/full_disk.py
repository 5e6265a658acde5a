"""No space is left on a node where releases go.

A layer of one mebibyte of memory is laid over /opt/glance and filled: what is there stays readable, `df` says that
nothing is free, and not a byte of the machine's own disk is taken. What was written to the layer all the same, such
as a switched symlink, is carried over to the disk when the fault is lifted; a loss of power before that loses it.
"""

from __future__ import annotations

from pathlib import Path

from include.lab import nodes
from include.lab.errors import LabError
from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings, Node

ROOT = "/opt/glance"
_PLACE = "/run/lab-fault-full-disk"
# $1 root  $2 place. `below` is what the layer covers, to be reached while it is covered.
_INJECT = """
mkdir -p "$2/below" "$2/small"
mountpoint -q "$2/small" || mount -t tmpfs -o size=1m,mode=0755 tmpfs "$2/small"
mountpoint -q "$2/below" || mount --bind "$1" "$2/below"
mount --make-private "$2/below"
mkdir -p "$2/small/upper" "$2/small/work"
options="lowerdir=$2/below,upperdir=$2/small/upper,workdir=$2/small/work,redirect_dir=off,metacopy=off,index=off"
mountpoint -q "$1" || mount -t overlay -o "$options" overlay "$1"
head -c 2M /dev/zero > "$2/small/ballast" 2> /dev/null || true
df --output=avail -B1 "$1" | tail -1
"""
_LIFT = """
if mountpoint -q "$1"; then
    rm -f "$2/small/ballast"
    python3 -I - "$2/small/upper" "$2/below"
    umount -l "$1"
fi
for name in below small; do
    ! mountpoint -q "$2/$name" || umount -l "$2/$name"
done
rm -rf --one-file-system "$2"
"""
# Standard library only: it runs on the node.
_CARRY_OVER = Path(__file__).with_name("carry_over.py")


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return _covered(injection.node_of(settings))


def _covered(node: Node) -> bool:
    pid = nodes.leader(node)
    if pid is None:
        return False
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return any(line.split()[4] == ROOT for line in mounts)


def _inject(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    free = nodes.inside(node, "sh", "-euc", _INJECT, "inject", ROOT, _PLACE).stdout.strip()
    if free != "0":
        raise LabError(f"{ROOT} on {node.name} has {free} bytes free after it was filled.", expected="0.")


def _lift(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    script = _CARRY_OVER.read_text()
    nodes.inside(node, "sh", "-euc", _LIFT, "lift", ROOT, _PLACE, stdin=script)
    if _covered(node):
        raise LabError(f"{ROOT} on {node.name} is still covered.", expected="the node's own disk there.")


FAULT = Fault(
    name="full-disk",
    does="No space is left below /opt/glance of the node, where releases go; what is there stays. Takes 1 MiB of "
    "memory and nothing of this machine's disk.",
    forms=(frozenset({"node"}),),
    check=checks.node_runs,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
