from __future__ import annotations

import os
import stat
from pathlib import Path

from include.lab.faults import carry_over


def test_what_was_changed_is_carried_over_and_the_rest_stays(tmp_path: Path) -> None:
    upper, below = tmp_path / "upper", tmp_path / "below"
    (below / "releases" / "26").mkdir(parents=True)
    (below / "releases" / "26" / "stays").write_text("old")
    (below / "releases" / "26" / "changes").write_text("old")
    (below / "current").symlink_to("releases/26")
    (below / "was-directory" / "with").mkdir(parents=True)
    (below / "was-file").write_text("old")

    (upper / "releases" / "26").mkdir(parents=True)
    (upper / "releases" / "26" / "changes").write_text("new")
    (upper / "releases" / "26" / "changes").chmod(0o640)
    (upper / "releases" / "28").mkdir(mode=0o750)
    (upper / "releases" / "28" / "file").write_text("new")
    (upper / "current").symlink_to("releases/28")
    (upper / "was-directory").write_text("now a file")
    (upper / "was-file").mkdir()

    carry_over.carry(upper, below)
    carry_over.carry(upper, below)

    assert (below / "releases" / "26" / "stays").read_text() == "old"
    assert (below / "releases" / "26" / "changes").read_text() == "new"
    assert stat.S_IMODE((below / "releases" / "26" / "changes").stat().st_mode) == 0o640
    assert (below / "releases" / "28" / "file").read_text() == "new"
    assert stat.S_IMODE((below / "releases" / "28").stat().st_mode) == 0o750
    assert (below / "current").readlink() == Path("releases/28")
    assert (below / "was-directory").read_text() == "now a file"
    assert (below / "was-file").is_dir()
    assert not list(below.rglob("*.carried-over"))


def test_a_symlink_to_a_directory_is_no_directory(tmp_path: Path) -> None:
    upper, below, elsewhere = (tmp_path / name for name in ("upper", "below", "elsewhere"))
    for directory in (upper / "place", below, elsewhere):
        directory.mkdir(parents=True)
    (upper / "place" / "file").write_text("new")
    (below / "place").symlink_to(elsewhere)

    carry_over.carry(upper, below)

    assert list(elsewhere.iterdir()) == [], "nothing is written through the link"
    assert (below / "place" / "file").read_text() == "new"


def test_only_a_device_without_numbers_marks_what_was_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not carry_over.is_whiteout((tmp_path / "file").lstat())
    assert not carry_over.is_whiteout(Path(os.devnull).lstat())
