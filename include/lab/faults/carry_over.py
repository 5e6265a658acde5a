"""Carry what was changed in the upper layer of an overlay over to the tree below. Runs on a node, as root.

Usage: python3 -I - UPPER BELOW
Source of what a layer means by its marks: the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

OPAQUE = "trusted.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Something below that was removed."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: Path) -> bool:
    """A directory that is a new one: nothing of the one below is in it."""
    try:
        return os.getxattr(directory, OPAQUE) == b"y"
    except OSError:
        return False


def is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    if is_directory(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(source: Path, target: Path, status: os.stat_result) -> None:
    """A file or symlink in place of what is there, in one step unless that is a directory."""
    new = target.with_name(f"{target.name}.carried-over")
    remove(new)
    if stat.S_ISLNK(status.st_mode):
        new.symlink_to(source.readlink())
    else:
        shutil.copyfile(source, new)
    os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        new.chmod(stat.S_IMODE(status.st_mode))  # last, as a change of owner takes set-uid away
    if is_directory(target):
        shutil.rmtree(target)
    new.replace(target)


def carry(upper: Path, below: Path) -> None:
    """Everything in the directory ``upper`` to the directory ``below``."""
    for source in upper.iterdir():
        target, status = below / source.name, source.lstat()
        if is_whiteout(status):
            remove(target)
        elif is_directory(source):
            if is_opaque(source) or not is_directory(target):
                remove(target)
                target.mkdir()
            os.chown(target, status.st_uid, status.st_gid)
            target.chmod(stat.S_IMODE(status.st_mode))
            carry(source, target)
        else:
            put(source, target, status)


if __name__ == "__main__":
    carry(Path(sys.argv[1]), Path(sys.argv[2]))
