"""Whether this machine can carry the lab: reads, never writes. Standard library only, any python3.

    python3 -m include.demo.can_run

Exit status: 0 it can; 2 a DEMO_* setting is wrong; 3 it cannot, and the text says what would help.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from include.demo import choices

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
NAMESPACES = ("mnt", "net", "pid", "uts", "ipc")
FREE_GIGABYTES = 5
PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Machine:
    """What is looked at, apart from where it comes from, so that it can be tested."""

    os_names: frozenset[str]
    """``ID`` and ``ID_LIKE`` of /etc/os-release."""
    os_title: str
    root: bool
    sudo: bool
    capabilities: int
    """Bits root may have here: a container's root often lacks some."""
    namespaces: frozenset[str]
    mounts: frozenset[str]
    """Types of mounted file systems."""
    python311: bool
    free_bytes: int


@dataclass(frozen=True)
class Missing:
    """One thing that stands in the way, and what would remove it."""

    what: str
    help: str


def missing(machine: Machine) -> list[Missing]:
    """All that stands in the way, the most basic first."""
    found = []
    if not machine.os_names & {"debian", "ubuntu"}:
        found.append(
            Missing(
                f"Debian or Ubuntu (this is {machine.os_title or 'unknown'})",
                "run it on Debian 12, for example in a virtual machine",
            )
        )
    elif not machine.python311:
        found.append(
            Missing(
                f"Python 3.11, on PATH or in the package lists of {machine.os_title}",
                "run apt-get update, or use Debian 12, whose Python it is",
            )
        )
    if not (machine.root or machine.sudo):
        found.append(Missing("root or sudo", "run it as root, or install sudo and join its group"))
    found += [
        Missing(f"{name} namespaces in the kernel", "use a kernel of the distribution")
        for name in NAMESPACES
        if name not in machine.namespaces
    ]
    for bit, name in ((CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")):
        if not machine.capabilities & (1 << bit):
            found.append(
                Missing(
                    f"{name}: namespaces, mounts and bridges cannot be made",
                    "use a virtual machine or real hardware, or give this container the capability",
                )
            )
    if "cgroup2" not in machine.mounts:
        found.append(Missing("a mounted cgroup v2 hierarchy", "boot with systemd.unified_cgroup_hierarchy=1"))
    if machine.free_bytes < FREE_GIGABYTES * 10**9:
        found.append(
            Missing(
                f"{FREE_GIGABYTES} GB free under /var (found {machine.free_bytes / 10**9:.1f} GB)",
                "free some, or point GLANCE_LAB_STATE and GLANCE_LAB_CACHE to a larger file system",
            )
        )
    return found


def observe() -> Machine:
    """Look at this machine."""
    release = _os_release()
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    is_root = os.geteuid() == 0
    return Machine(
        os_names=frozenset(names),
        os_title=release.get("PRETTY_NAME", sys.platform),
        root=is_root,
        sudo=shutil.which("sudo") is not None,
        # What sudo would give is bounded by the bounding set.
        capabilities=_capabilities("CapEff" if is_root else "CapBnd"),
        namespaces=frozenset(name for name in NAMESPACES if Path("/proc/self/ns", name).exists()),
        mounts=frozenset(line.split()[2] for line in _lines("/proc/mounts") if len(line.split()) > 2),
        python311=shutil.which("python3.11") is not None or _apt_knows("python3.11"),
        free_bytes=min(_free(name) for name in ("GLANCE_LAB_STATE", "GLANCE_LAB_CACHE")),
    )


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in _lines("/etc/os-release"))
    return {name: value.strip().strip("\"'") for name, _, value in pairs}


def _capabilities(field: str) -> int:
    for line in _lines("/proc/self/status"):
        name, _, value = line.partition(":")
        if name == field:
            return int(value, 16)
    return 0


def _apt_knows(package: str) -> bool:
    lists = Path("/var/lib/apt/lists")
    wanted = f"Package: {package}\n"
    for path in lists.glob("*_Packages"):
        with path.open(errors="replace") as stream:
            if any(line == wanted for line in stream):
                return True
    return False


def _free(variable: str) -> int:
    path = Path(os.environ.get(variable, "/var/lib"))
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> int:
    """Say what is in the way, or nothing."""
    try:
        choices.read(os.environ, PROJECT_ROOT / "include" / "releases")
    except choices.BadChoiceError as error:
        print(error, file=sys.stderr)
        return 2
    found = missing(observe())
    if not found:
        return 0
    print("The lab cannot run on this machine; nothing was changed. Missing:", file=sys.stderr)
    for item in found:
        print(f"  {item.what}\n      what would help: {item.help}", file=sys.stderr)
    print("make check runs here all the same.", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
