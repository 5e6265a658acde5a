"""Which releases there are and which jumps lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.catalogue import Catalogue, Release, load


def release(version: str, *, slurp: bool) -> Release:
    return Release(version=version, series="x", slurp=slurp, expanded="e", contracted="c")


@pytest.mark.parametrize(
    ("old", "new", "supported"),
    [
        (("26.1.0", True), ("26.2.0", True), True),
        (("26.1.0", True), ("27.0.0", False), True),
        (("27.0.0", False), ("28.1.0", True), True),
        (("26.1.0", True), ("28.1.0", True), True),
        (("27.0.0", False), ("29.0.0", False), False),
        (("26.1.0", True), ("30.1.0", True), False),
        (("25.1.0", False), ("27.0.0", False), False),
        (("28.1.0", True), ("26.1.0", True), False),
    ],
)
def test_supported_jumps(old: tuple[str, bool], new: tuple[str, bool], supported: bool) -> None:
    first, second = release(old[0], slurp=old[1]), release(new[0], slurp=new[1])
    why_not = Catalogue(service="glance", releases=(first, second)).why_not_from(first, second)
    assert (why_not is None) is supported


def test_the_shipped_catalogue_has_pins_for_each_release() -> None:
    catalogue = load()
    for version in catalogue.versions:
        lock = Path("include/releases") / version / "requirements.lock"
        assert lock.is_file(), f"{version} has no pins"
        assert f"glance=={version}" in lock.read_text()


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    with pytest.raises(RefusedError, match=r"1\.0\.0(.|\n)*26\.1\.0"):
        load().release("1.0.0")


def test_a_catalogue_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text("service: glance\nreleases: [{version: abc}]\n")
    with pytest.raises(RefusedError, match=r"catalogue\.yaml"):
        load(path)
