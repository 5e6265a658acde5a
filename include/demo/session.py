"""One demo or test at a time on a machine: they make the lab anew and take it down, whoever is at work with it.

    python3 -m include.demo.session NAME COMMAND...

runs COMMAND in place of itself, which then holds the lock, as descriptor 8, until it ends; the kernel lets go of it
however it ends. Exit status 4: another session is at work, and nothing was changed. Standard library only, any
python3: it is taken before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from include.lab.settings import SESSION_FILE

BUSY = 4
DESCRIPTOR = 8
"""Where a command finds the lock that was taken for it. One digit, so that any shell can close it for a child."""


class NoSessionError(RuntimeError):
    """The session cannot be had. Where another demo or test is at work on this machine, the message names it."""


@contextlib.contextmanager
def held(name: str, path: Path = SESSION_FILE) -> Iterator[None]:
    """Hold the machine's session; one that this process was started with is kept. Raises NoSessionError."""
    if _inherited(path):
        # Programs started from here must not hold it any longer than the session lasts.
        os.set_inheritable(DESCRIPTOR, False)
        yield
        return
    descriptor = take(name, path)
    try:
        yield
    finally:
        os.close(descriptor)


def take(name: str, path: Path = SESSION_FILE) -> int:
    """Take the lock and write into it who holds it; returns its descriptor. Raises NoSessionError."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "one that has just begun"
        os.close(descriptor)
        raise NoSessionError(
            f"Another session is at work with the lab on this machine: {holder}.\n"
            "Expected: none, as there is one lab on a machine, and this would make it anew.\n"
            "Nothing was changed, and that session goes on.\n"
            "Next: wait until it has ended, or end it (Ctrl-C there), then start again."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{name}, process {os.getpid()} of user id {os.getuid()} in {Path.cwd()}\n".encode(), 0)
    return descriptor


def _inherited(path: Path) -> bool:
    """Whether descriptor 8 is the lock, taken before by what started this process."""
    try:
        if not os.path.samestat(os.fstat(DESCRIPTOR), path.stat()):
            return False
        fcntl.flock(DESCRIPTOR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _open(path: Path) -> int:
    """Open the file, which every user may write, and make it where it is not there yet."""
    # Never O_CREAT on a file that may exist: in a folder like /run/lock the kernel refuses that even to root,
    # where the file is another user's (fs.protected_regular).
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with contextlib.suppress(FileExistsError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        except PermissionError as error:
            # Some distributions let root alone write there. A demo needs sudo in any case.
            make = 'mkdir -p "${1%/*}"; umask 0; set -C; [ -e "$1" ] || : >"$1"'
            if subprocess.run(["sudo", "--", "/bin/sh", "-c", make, "sh", str(path)], check=False).returncode:
                raise NoSessionError(
                    f"The file that lets one demo or test at a time run cannot be made: {error}.\n"
                    "Expected: a folder that this user may write, or sudo.\n"
                    "Nothing was changed. Next: start it as root, or as a user with sudo."
                ) from error
        else:
            os.fchmod(descriptor, 0o666)  # whatever the umask says
            return descriptor
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW)


def main(name: str, command: list[str]) -> NoReturn:
    """Become the command, holding the lock."""
    try:
        descriptor = take(name)
    except NoSessionError as error:
        print(error, file=sys.stderr)
        sys.exit(BUSY)
    if descriptor != DESCRIPTOR:
        os.dup2(descriptor, DESCRIPTOR)
        os.close(descriptor)
    os.set_inheritable(DESCRIPTOR, True)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
