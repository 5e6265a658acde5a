"""One byte of a release's archive differs from what its checksum was made of."""

from __future__ import annotations

import shutil

from include.lab import releases
from include.lab.faults import archives
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return archives.is_replaced(settings, injection.version())


def _check(settings: LabSettings, injection: Injection) -> None:
    archives.require_whole(settings, injection.version())


def _inject(settings: LabSettings, injection: Injection) -> None:
    version = injection.version()
    archive = releases.archive(settings, version)
    broken = archives.beside(archive)
    shutil.copyfile(archive, broken)
    with broken.open("r+b") as content:
        middle = broken.stat().st_size // 2
        content.seek(middle)
        byte = content.read(1)[0]
        content.seek(middle)
        content.write(bytes([byte ^ 0xFF]))
    archives.replace(settings, version, broken, checksum=None)


def _lift(settings: LabSettings, injection: Injection) -> None:
    archives.restore(settings, injection.version())


FAULT = Fault(
    name="corrupt-archive",
    does="One byte of the release's archive in the fleet's release directory is flipped; its .sha256 stays.",
    forms=(frozenset({"release"}),),
    check=_check,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
    outside=_lift,
)
