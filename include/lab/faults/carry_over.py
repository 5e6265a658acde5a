"""Carry what was changed in the upper layer of an overlay over to the tree below. Runs on a node, as root.

Usage: python3 -I - UPPER BELOW
Source of what a layer means by its marks: the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys

OPAQUE = "trusted.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Something below that was removed."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str) -> bool:
    """A directory that is a new one: nothing of the one below is in it."""
    try:
        return os.getxattr(directory, OPAQUE) == b"y"
    except OSError:
        return False


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def put(source: str, target: str, status: os.stat_result) -> None:
    """A file or symlink in place of what is there, in one step."""
    new = target + ".carried-over"
    remove(new)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), new)
    else:
        shutil.copyfile(source, new)
        os.chmod(new, stat.S_IMODE(status.st_mode))
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
    if os.path.isdir(target) and not os.path.islink(target):
        shutil.rmtree(target)
    os.replace(new, target)


def carry(upper: str, below: str) -> None:
    """Everything in the directory ``upper`` to the directory ``below``."""
    for entry in os.scandir(upper):
        target = os.path.join(below, entry.name)
        status = entry.stat(follow_symlinks=False)
        if is_whiteout(status):
            remove(target)
        elif entry.is_dir(follow_symlinks=False):
            if is_opaque(entry.path) or os.path.islink(target) or not os.path.isdir(target):
                remove(target)
                os.mkdir(target)
            os.chown(target, status.st_uid, status.st_gid)
            os.chmod(target, stat.S_IMODE(status.st_mode))
            carry(entry.path, target)
        else:
            put(entry.path, target, status)


if __name__ == "__main__":
    carry(sys.argv[1], sys.argv[2])
