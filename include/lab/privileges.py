"""Root where it is needed, and the person's own account where it is not.

The lab's processes need root. Someone who is not root is taken through sudo; what they must read or write afterwards
(keys, backups, results of the load) then belongs to them.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

from include.lab.errors import CANNOT_RUN, LabError
from include.lab.settings import PROJECT_ROOT

# Its own handlers keep the shell alive until the command has ended; children do not inherit them.
_THEN_REMOVE = 'trap : INT TERM HUP; "$@"; status=$?; rm -f -- "$0"; exit "$status"'


def invoking_user() -> tuple[int, int]:
    """User and group id of the person: those from before sudo, if sudo was used."""
    if os.geteuid() == 0 and (uid := os.environ.get("SUDO_UID", "")).isdecimal():
        return int(uid), int(os.environ.get("SUDO_GID", uid))
    return os.getuid(), os.getgid()


def give_to_user(path: Path) -> None:
    """Make the file or directory the invoking user's."""
    os.chown(path, *invoking_user())


def sudo_command(arguments: list[str], environment: dict[str, str], module: str = "include.lab") -> list[str]:
    """The same command through sudo. ``GLANCE_LAB_*`` goes along as words, as sudoers may forbid an environment."""
    kept = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith("GLANCE_LAB_")]
    # Root must not leave compiled files in a clone that is not root's.
    own = [f"PYTHONPATH={PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}", "PYTHONDONTWRITEBYTECODE=1"]
    return ["sudo", "--", "/usr/bin/env", *own, *kept, sys.executable, "-m", module, *arguments]


def need_root(module: str = "include.lab") -> None:
    """Run this same command again through sudo unless it is root's already. Raises LabError without sudo.

    ``module`` is what ``python -m`` was given.
    """
    if os.geteuid() == 0:
        return
    _require_sudo()
    sys.stdout.flush()
    os.execvp("sudo", sudo_command(sys.argv[1:], dict(os.environ), module))  # noqa: S606


def need_root_with_environment(option: str) -> None:
    """As ``need_root``, with this process's environment in a file, which goes along as ``option FILE``.

    ``load_environment`` removes the file; where sudo refuses, this does. Raises LabError without sudo.
    """
    if os.geteuid() == 0:
        return
    _require_sudo()
    saved = save_environment()
    name, *others = sys.argv[1:]
    through_sudo = sudo_command([name, option, str(saved), *others], dict(os.environ))
    sys.stdout.flush()
    os.execvp("sh", ["sh", "-c", _THEN_REMOVE, str(saved), *through_sudo])  # noqa: S606


def _require_sudo() -> None:
    if shutil.which("sudo") is None:
        raise LabError(
            f"this needs root, and it runs as user id {os.geteuid()} without sudo on the machine.",
            expected="root, or a user who may use sudo.",
            safe="nothing was changed.",
            next_step="run it as root, or install sudo.",
            exit_code=CANNOT_RUN,
        )


def save_environment() -> Path:
    """The environment as a file that only this user can read: sudo would drop it, and argv can be read by all."""
    descriptor, name = tempfile.mkstemp(prefix="glance-lab-environment-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(os.environ), file)
    return Path(name)


def load_environment(path: Path) -> dict[str, str]:
    """Read and remove what ``save_environment`` wrote."""
    saved = {str(name): str(value) for name, value in json.loads(path.read_text()).items()}
    path.unlink()
    return saved


def become_invoking_user() -> dict[str, str]:
    """Give up root for good if sudo was used; returns the variables that name the account."""
    uid, gid = invoking_user()
    account = pwd.getpwuid(uid)
    if os.geteuid() == 0 and uid != 0:
        os.initgroups(account.pw_name, gid)
        os.setgid(gid)
        os.setuid(uid)
    return {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
