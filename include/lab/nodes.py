"""A node: its disk, its life as a machine of systemd-nspawn, and what runs inside."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from include.lab import access, cgroups, network, releases, root
from include.lab.commands import privately, run, spawn
from include.lab.errors import LabError
from include.lab.settings import GLANCE_UID, PROJECT_ROOT, LabSettings, Node
from include.lab.waiting import until

UNIT = "glance-api.service"
BOOT_SECONDS = 60.0
_PROVISION = PROJECT_ROOT / "include" / "lab" / "provision.sh"
_RELEASE = re.compile(rb"/opt/glance/releases/([A-Za-z0-9_.-]+)/")

# $1 lower  $2 upper  $3 work  $4 merged  $5 provisioning script
_MAKE = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
mount -t proc proc "$4/proc"
mount --bind /dev "$4/dev"
exec chroot "$4" /bin/sh -s < "$5"
"""
# The node's disk is mounted in a mount namespace of the machine's own: when its processes end, however they end,
# there is no mount left.
_BOOT = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
shift 4
exec systemd-nspawn -q -D "$0" "$@"
"""


@dataclass(frozen=True)
class Disk:
    """Where a node's disk lies: what is shared below, what is its own above."""

    lower: str
    upper: Path
    work: Path
    merged: Path


def _directory(settings: LabSettings, node: Node) -> Path:
    return settings.state / "nodes" / node.name


def disk(settings: LabSettings, node: Node) -> Disk:
    """The node's disk; ``layers`` beside it says what it was made on."""
    top = _directory(settings, node)
    return Disk((top / "layers").read_text().strip(), top / "upper", top / "work", top / "merged")


def has_disk(settings: LabSettings, node: Node) -> bool:
    return (_directory(settings, node) / "layers").is_file()


def make_disk(settings: LabSettings, node: Node, release: str, configuration: str) -> None:
    """A new disk with ``release`` installed and configured, in place of what was there. The node must not run."""
    top = _directory(settings, node)
    shutil.rmtree(top, ignore_errors=True)
    for name in ("upper", "work", "merged"):
        (top / name).mkdir(parents=True)
    top.parent.chmod(0o700)  # what is set-uid or private on a node must not be so for users of this machine
    upper = top / "upper"
    _put(upper / "etc/machine-id", f"{secrets.token_hex(16)}\n")
    _put(upper / "etc/hostname", f"{node.name}\n")
    _put(upper / "etc/resolv.conf", "")  # there is no name server behind the lab's bridge
    _put(upper / "etc/hosts", f"127.0.0.1 localhost\n{node.address} {node.name}\n")
    _put(upper / "etc/ssh/ssh_host_ed25519_key.pub", f"{access.host_key(settings, node)} {node.name}\n")
    _put(upper / "etc/ssh/ssh_host_ed25519_key", access.host_key_file(settings, node).read_text(), mode=0o600)
    installed = upper / "opt/glance/releases" / release
    _put(installed / "etc/glance/glance-api.conf", configuration, mode=0o640, group=GLANCE_UID)
    _put(installed / ".complete", "")
    (upper / "opt/glance/current").symlink_to(f"releases/{release}")
    lower = f"{releases.layer(settings, release)}:{root.path(settings)}"
    run(
        privately(_MAKE, "make", lower, upper, top / "work", top / "merged", _PROVISION),
        environment={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "ROLLOUT_KEY": access.client_key(settings),
        },
    )
    (top / "layers").write_text(f"{lower}\n")  # last: only with it the disk is whole


def _put(path: Path, text: str, *, mode: int = 0o644, group: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, 0, group)
    path.chmod(mode)


def running(node: Node) -> bool:
    """True while any process of the machine lives."""
    return cgroups.alive(node.machine)


def boot(settings: LabSettings, node: Node) -> None:
    """Boot the node from its disk, unless it runs, and wait until its sshd answers. Raises LabError."""
    log = settings.logs / f"{node.name}.log"
    pid = leader(node)
    if pid is not None:
        cgroups.thaw(node.machine)
        network.reconnect(node, pid)
    else:
        cgroups.kill(node.machine)
        cgroups.remove(node.machine)
        network.connect(node)
        own = disk(settings, node)
        options = [
            f"--machine={node.machine}", f"--hostname={node.name}", "--boot", "--register=no", "--keep-unit",
            f"--network-namespace-path={network.namespace(node)}", "--resolv-conf=off", "--link-journal=no",
            "--console=pipe", f"--bind={settings.images}:/var/lib/glance/images",
        ]  # fmt: skip
        machine = privately(_BOOT, own.merged, own.lower, own.upper, own.work, own.merged, *options)
        spawn(machine, group=node.machine, log=log)
    until(lambda: ssh_answers(node), f"sshd of {node.name} to answer (log: {log})", seconds=BOOT_SECONDS)


def ssh_answers(node: Node) -> bool:
    """True if the node's sshd greets."""
    try:
        with socket.create_connection((node.address, 22), timeout=1.0) as connection:
            connection.settimeout(1.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def leader(node: Node) -> int | None:
    """The node's process 1, as the host numbers it, or None if the node does not run."""
    for pid in cgroups.processes(node.machine):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        # The supervisor outside is in the same group; only what is inside has a second number.
        if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE) and not re.search(r"^State:\tZ", status, re.MULTILINE):
            return pid
    return None


def inside(
    node: Node, *command: str, user: str = "root", stdin: str = "", seconds: float = 60.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command inside the node without the network. Raises LabError when it fails or the node does not run."""
    pid = leader(node)
    if pid is None:
        raise LabError(
            f"{node.name} does not run.",
            expected="a running node.",
            safe="nothing was changed.",
            next_step="`./lab up` boots what is missing.",
        )
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    enter = ["nsenter", f"--target={pid}", "--all", "--wd=/"]
    if user != "root":
        enter += ["runuser", "-u", user, "--"]
    return run([*enter, *command], stdin=stdin, seconds=seconds, environment=environment, check=check)


def running_releases(node: Node) -> list[str]:
    """Releases that any process of the node runs from, read from its command line and what it has mapped."""
    found: set[bytes] = set()
    for pid in cgroups.processes(node.machine):
        for name in ("cmdline", "maps"):
            try:
                found.update(_RELEASE.findall(Path(f"/proc/{pid}/{name}").read_bytes()))
            except OSError:  # it has ended meanwhile
                continue
    return sorted(release.decode() for release in found)


def current_release(node: Node) -> str | None:
    """The release that ``current`` points to; what runs may be another."""
    pid = leader(node)
    try:
        return Path(f"/proc/{pid}/root/opt/glance/current").readlink().name if pid else None
    except OSError:
        return None


def unit_state(node: Node) -> str:
    """systemd's word on Glance, as ``active (running)``, or why there is none."""
    if leader(node) is None:
        return "no machine"
    try:
        shown = inside(
            node, "systemctl", "show", "--property=ActiveState,SubState", UNIT, seconds=1.2, check=False
        ).stdout
    except LabError:
        return "no answer"
    states = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return f"{states.get('ActiveState', 'unknown')} ({states.get('SubState', 'unknown')})"
