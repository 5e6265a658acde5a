"""What a machine lacks to run the lab. Looks only; changes nothing.

Standard library alone and no import from the project, so that it runs before anything is installed:
``python3 include/lab/doctor.py``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OK, CANNOT_RUN = 0, 3

# Debian package by the program that shows that it is there. The database comes without its service.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "haproxy": "haproxy",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client",
    "mariadb-dump": "mariadb-client",
    "ssh": "openssh-client",
    "gzip": "gzip",
    "nsenter": "util-linux",
}
# What the integration tests start for themselves besides: a real sshd, and sudo to become root on "the node".
TEST_PROGRAMS = {"sshd": "openssh-server", "sudo": "sudo", "setpriv": "util-linux"}
FILES = {
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",  # Ubuntu has it not by itself
}
FREE_GIB = 5


@dataclass(frozen=True)
class Lack:
    """One thing that is missing, and what would help. ``installable``: ``make install`` brings it."""

    missing: str
    help: str
    installable: bool = False


def missing_packages(*, tests: bool = False) -> list[str]:
    """Debian packages that ``make install`` would install, with ``tests`` those for the project's tests too."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    programs = PROGRAMS | (TEST_PROGRAMS if tests else {})
    found = {package for program, package in programs.items() if shutil.which(program, path=path) is None}
    return sorted(found | {package for file, package in FILES.items() if not Path(file).exists()})


def distribution(os_release: str) -> str | None:
    """None if the text of /etc/os-release is of Debian or of what is made from it, as Ubuntu; else what it is."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    ids = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
    return None if {"debian", "ubuntu"} & set(ids) else values.get("PRETTY_NAME", "unknown").strip('"')


def _system() -> list[Lack]:
    try:
        other = distribution(Path("/etc/os-release").read_text())
    except OSError:
        other = platform.system()
    if other is not None or shutil.which("apt-get") is None:
        return [
            Lack(
                f"this is {other or 'a system without apt-get'}, not Debian or Ubuntu",
                "run it on Debian 12 (a virtual machine will do, 2 cores and 4 GiB); `make check` runs here too",
            )
        ]
    return []


def _root() -> list[Lack]:
    if os.geteuid() == 0 or shutil.which("sudo"):
        return []
    return [Lack("neither root nor sudo", "run it as root, or install sudo and allow it to this user")]


def _cgroups() -> list[Lack]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split()[4] for line in lines if " - cgroup2 " in line]
    if not mounts:
        return [
            Lack("no cgroup v2 hierarchy is mounted", "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2")
        ]
    options = next(line for line in lines if " - cgroup2 " in line).split()[5]
    if "ro" in options.split(","):
        return [
            Lack(
                f"{mounts[0]} is read-only",
                "run it on the machine itself or in a privileged container, not in this one",
            )
        ]
    # The root of the hierarchy has no such file; any group below it has, from Linux 5.14 on.
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
    if release < (5, 14):
        return [Lack(f"Linux {platform.release()} has no cgroup.kill", "a kernel from 5.14 on, as Debian 12 has")]
    return []


def sudo_asks() -> bool:
    """True for a user whose sudo wants a password, so that nothing can be tried as root without asking."""
    if os.geteuid() == 0 or not shutil.which("sudo"):
        return False
    return _call(["sudo", "-n", "true"]).returncode != 0


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _namespaces() -> list[Lack]:
    wanted = ("mnt", "net", "pid", "uts", "ipc", "cgroup")
    lacking = [name for name in wanted if not Path(f"/proc/self/ns/{name}").exists()]
    if lacking:
        return [Lack(f"no namespaces of kind {', '.join(lacking)}", "a kernel that has them, as Debian's has")]
    if os.geteuid() != 0 and (not shutil.which("sudo") or sudo_asks()):
        return []  # `unchecked` and `_root` say so
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n", "--"]
    # All of it is gone with the command.
    result = _call([*as_root, "unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"])
    if result.returncode != 0:
        return [
            Lack(
                f"root may not make namespaces here ({result.stderr.strip()})",
                "run it on the machine itself or in a virtual machine; a plain container is not enough",
            )
        ]
    return []


def _overlay() -> list[Lack]:
    if "overlay" in Path("/proc/filesystems").read_text() or shutil.which("modprobe", path="/usr/sbin:/sbin"):
        return []
    return [Lack("no overlay file system", "a kernel with overlayfs, as Debian's has")]


def _space() -> list[Lack]:
    for variable, default in (
        ("GLANCE_LAB_CACHE", "/var/cache/glance-lab"),
        ("GLANCE_LAB_STATE", "/var/lib/glance-lab"),
    ):
        path = Path(os.environ.get(variable, default))
        while not path.exists():
            path = path.parent
        if shutil.disk_usage(path).free < FREE_GIB * 2**30:
            return [Lack(f"less than {FREE_GIB} GiB free on {path}", f"free some, or set {variable} to another place")]
    return []


def _packages() -> list[Lack]:
    lacking = missing_packages()
    if not lacking:
        return []
    return [Lack(f"packages: {' '.join(lacking)}", "`make install` installs them", installable=True)]


def examine() -> list[Lack]:
    """Everything that is missing; empty if the lab can run."""
    system = _system()
    if system:
        return system + _root()
    return _root() + _cgroups() + _namespaces() + _overlay() + _space() + _packages()


def unchecked() -> str:
    """What could not be looked at without asking for a password; empty where everything was."""
    if not sudo_asks():
        return ""
    return (
        "Not checked, as sudo wants a password here: whether it lets this user be root, and whether root may make "
        "namespaces on this machine.\n"
    )


def explain(lacking: list[Lack]) -> str:
    """One line for each thing that is missing, with what would help."""
    lines = ["this machine cannot run the lab as it is:"]
    return "\n".join(lines + [f"  - {lack.missing}.\n    What would help: {lack.help}." for lack in lacking])


def main() -> int:
    """Print the findings; 0 if the lab can run, 3 if not."""
    lacking = examine()
    if lacking:
        print(explain(lacking))
        print("Nothing was changed.")
        return CANNOT_RUN
    print(f"{unchecked()}This machine can run the lab.")
    return OK


if __name__ == "__main__":
    sys.exit(main())
