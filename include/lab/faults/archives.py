"""Putting another archive in place of a release's own, and the own one back. Each step is a rename or a link."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from include.lab import releases
from include.lab.errors import LabError
from include.lab.settings import LabSettings

_KEPT = ".before-fault"


def _files(settings: LabSettings, version: str) -> tuple[Path, Path]:
    archive = releases.archive(settings, version)
    return archive, archive.with_name(f"{archive.name}.sha256")


def _kept(file: Path) -> Path:
    return file.with_name(f".{file.name}{_KEPT}")


def beside(archive: Path) -> Path:
    """A name in the same directory for what is to take the archive's place."""
    return archive.with_name(f".{archive.name}.fault")


def workshop(archive: Path) -> Path:
    """A directory where that is made, of a fixed name, so that it is found after a crash."""
    return archive.with_name(f".{archive.name}.fault-made")


def is_replaced(settings: LabSettings, version: str) -> bool:
    """True while another archive lies there, or the own one has not been put back whole."""
    return any(_kept(file).exists() for file in _files(settings, version))


def require_whole(settings: LabSettings, version: str) -> None:
    """Raises LabError where the archive is missing or is replaced by another fault."""
    if is_replaced(settings, version) or not all(file.is_file() for file in _files(settings, version)):
        raise LabError(
            f"the archive of {version} is missing, or another fault is in it.",
            expected="an archive as it was built, with its checksum.",
            safe="nothing was changed.",
            next_step=f"`./lab fault lift`, or `./lab build {version}`.",
        )


def replace(settings: LabSettings, version: str, broken: Path, *, checksum: str | None) -> None:
    """Put ``broken`` in the archive's place, with this line as its checksum, or with the old one beside it."""
    archive, beside_it = _files(settings, version)
    for file in (archive, beside_it):
        os.link(file, _kept(file))
    if checksum is not None:
        new = beside(beside_it)
        new.write_text(checksum)
        new.replace(beside_it)
    broken.replace(archive)


def restore(settings: LabSettings, version: str) -> None:
    """Put the own archive and checksum back, whatever of them was replaced."""
    for file in _files(settings, version):
        if _kept(file).exists():
            _kept(file).replace(file)
            _kept(file).unlink(missing_ok=True)  # a rename between two names of one file leaves both
        beside(file).unlink(missing_ok=True)
    shutil.rmtree(workshop(releases.archive(settings, version)), ignore_errors=True)
