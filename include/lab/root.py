"""The root file system that all nodes share, below a layer of their own each."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from include.lab.commands import privately, run_logged
from include.lab.settings import LabSettings

SUITE = "bookworm"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "procps",
    "python3",
    "python3-venv",
    "ca-certificates",
)
BUILD_PACKAGES = ("gcc", "libc6-dev", "python3-dev")
"""What some of Glance's dependencies need to be compiled; only where releases are built, not on nodes."""

BUILD_GROUP = "build"


def key() -> str:
    """Changes when a root would come out differently."""
    return hashlib.sha256(repr((SUITE, PACKAGES)).encode()).hexdigest()[:12]


def path(settings: LabSettings) -> Path:
    return settings.cache / "roots" / key()


def builder_path(settings: LabSettings) -> Path:
    """A layer above the root, with a compiler."""
    digest = hashlib.sha256(repr((key(), BUILD_PACKAGES)).encode()).hexdigest()[:12]
    return settings.cache / "builders" / digest


def _environment() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def ensure(settings: LabSettings) -> bool:
    """Make the root if it is not there; tells whether it had to. ``GLANCE_LAB_MIRROR`` names another mirror."""
    target = path(settings)
    if target.is_dir():
        return False
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    downloads = settings.cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    command = [
        "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", f"--cache-dir={downloads}",
        SUITE, str(new),
    ]  # fmt: skip
    if mirror := os.environ.get("GLANCE_LAB_MIRROR"):
        command.append(mirror)
    # debootstrap mounts /proc in the new root: in a namespace of its own it cannot leave that behind.
    run_logged(
        privately('exec "$@"', "debootstrap", *command),
        what="the root file system of the nodes",
        group=BUILD_GROUP,
        log=settings.cache / "logs" / "root.log",
        environment=_environment(),
    )
    for of_this_host in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):  # debootstrap copies them
        (new / of_this_host).unlink(missing_ok=True)
    for host_key in (new / "etc/ssh").glob("ssh_host_*"):
        host_key.unlink()
    # It has programs that are set-uid root: they are for the nodes, not for users of this machine.
    new.parent.chmod(0o700)
    new.rename(target)
    return True


_BUILDER = """
mkdir -p "$2" "$3" "$4"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
mount -t proc proc "$4/proc"
mount --rbind /dev "$4/dev"
touch "$4/etc/resolv.conf"
mount --bind /etc/resolv.conf "$4/etc/resolv.conf"
chroot "$4" apt-get -q update
shift 4
exec chroot "$0" apt-get -q install --yes --no-install-recommends "$@"
"""


def ensure_builder(settings: LabSettings) -> Path:
    """The layer with a compiler, made if it is not there. Raises LabError."""
    target = builder_path(settings)
    if target.is_dir():
        return target
    new, work = target.with_name(f"{target.name}.new"), target.with_name(f"{target.name}.work")
    merged = target.with_name(f"{target.name}.merged")
    for directory in (new, work, merged):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    run_logged(
        privately(_BUILDER, merged, path(settings), new, work, merged, *BUILD_PACKAGES),
        what="the compiler for releases",
        group=BUILD_GROUP,
        log=settings.cache / "logs" / "builder.log",
        environment=_environment(),
    )
    shutil.rmtree(work)
    merged.rmdir()
    new.rename(target)
    return target
