from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from include.lab import releases, settings
from include.lab.errors import LabError
from include.lab.faults import archives, control, corrupt_archive, crash_loop, record
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings

VERSION = "28.1.0"
CORRUPT = Injection("corrupt-archive", release=VERSION)
BROKEN = Injection("crash-loop", release=VERSION, archive=True)


@pytest.fixture
def lab(tmp_path: Path) -> LabSettings:
    """A lab without a node, with one archive that holds the programs of a release."""
    lab = replace(settings.from_environment({}), node_count=0, state=tmp_path / "state", cache=tmp_path / "cache")
    archive = releases.archive(lab, VERSION)
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("glance-api", "glance-manage"):
            text = f"# {name}\n".encode() * 1000
            entry = tarfile.TarInfo(f"{VERSION}/bin/{name}")
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text))
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest(archive)}  {archive.name}\n")
    return lab


def digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def everything(lab: LabSettings) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in lab.archives.iterdir()}


def checksum_fits(lab: LabSettings) -> bool:
    archive = releases.archive(lab, VERSION)
    return archive.with_name(f"{archive.name}.sha256").read_text() == f"{digest(archive)}  {archive.name}\n"


@pytest.mark.parametrize(
    ("fault", "injection", "fits"),
    [(corrupt_archive.FAULT, CORRUPT, False), (crash_loop.FAULT, BROKEN, True)],
    ids=["corrupt", "broken"],
)
def test_another_archive_takes_the_place_and_gives_it_back(
    lab: LabSettings, fault: Fault, injection: Injection, fits: bool
) -> None:
    before = everything(lab)
    assert fault.lift is not None
    fault.check(lab, injection)
    fault.inject(lab, injection)
    assert fault.is_there(lab, injection)
    assert checksum_fits(lab) is fits
    assert releases.archive(lab, VERSION).read_bytes() != before[f"glance-{VERSION}.tar.gz"]
    with pytest.raises(LabError, match="another fault is in it"):
        fault.check(lab, injection)
    fault.lift(lab, injection)
    fault.lift(lab, injection)
    assert not fault.is_there(lab, injection)
    assert everything(lab) == before


def test_one_byte_is_what_differs(lab: LabSettings) -> None:
    before = releases.archive(lab, VERSION).read_bytes()
    corrupt_archive.FAULT.inject(lab, CORRUPT)
    after = releases.archive(lab, VERSION).read_bytes()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_what_is_unpacked_from_a_broken_archive_crashes_and_brings_its_own_program_along(
    lab: LabSettings, tmp_path: Path
) -> None:
    crash_loop.FAULT.inject(lab, BROKEN)
    with tarfile.open(releases.archive(lab, VERSION)) as tar:
        tar.extractall(tmp_path / "tree")  # noqa: S202 - made above
    programs = tmp_path / "tree" / VERSION / "bin"
    assert (programs / "glance-api").read_text() == crash_loop.BROKEN
    assert (programs / "glance-api").stat().st_mode & 0o777 == 0o755
    assert (programs / "glance-api.before-fault").read_text().startswith("# glance-api\n")
    assert (programs / "glance-manage").read_text().startswith("# glance-manage\n")


@pytest.mark.parametrize("links", [0, 1, 2], ids=["before", "between", "after"])
def test_a_crash_between_the_steps_loses_nothing(lab: LabSettings, links: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends while it keeps the own files, or right before it puts the other one in their place."""
    before = everything(lab)
    done = 0
    real_link = archives.os.link  # type: ignore[attr-defined]

    def link(source: Path, target: Path) -> None:
        nonlocal done
        if done == links:
            raise KeyboardInterrupt
        real_link(source, target)
        done += 1

    def replace_file(file: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archives.os, "link", link)  # type: ignore[attr-defined]
        patched.setattr(Path, "replace", replace_file)
        with pytest.raises(KeyboardInterrupt):
            corrupt_archive.FAULT.inject(lab, CORRUPT)
    archives.restore(lab, VERSION)
    assert everything(lab) == before


def test_what_lies_outside_the_machines_is_ended_when_they_are_made_anew(lab: LabSettings) -> None:
    before = everything(lab)
    record.add(lab, Injection("node-freeze", node="node1", done=True))
    record.add(lab, CORRUPT)
    corrupt_archive.FAULT.inject(lab, CORRUPT)
    control.settle(lab)
    control.settle(lab)
    assert everything(lab) == before
    assert record.read(lab) == []
