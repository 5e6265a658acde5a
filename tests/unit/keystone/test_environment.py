"""Keystone for the tests is there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.lab.errors import LabError
from include.lab.settings import PROJECT_ROOT
from tests.keystone import environment

# Stands in for the installer, which would take a minute and the network: `venv … FOLDER`, `pip install … --python …`.
INSTALLER = """\
#!/bin/sh
if [ "$1" = pip ]; then
    for word; do [ "$before" = --python ] && python=$word; before=$word; done
    touch "$(dirname "$(dirname "$python")")/installed"
    exit {status}
fi
for folder; do :; done
mkdir -p "$folder/bin"
"""


def let_installer_end_with(status: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = folder / "uv"
    installer.write_text(INSTALLER.format(status=status))
    installer.chmod(0o755)
    monkeypatch.setattr(environment, "_UV", installer)


def test_it_is_installed_once_and_replaces_that_of_earlier_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = tmp_path / "tests" / "keystone-000000000000"
    earlier.mkdir(parents=True)
    let_installer_end_with(0, tmp_path, monkeypatch)

    home = environment.ensure(tmp_path)

    assert (home / "installed").exists()
    assert list(home.parent.iterdir()) == [home]
    let_installer_end_with(1, tmp_path, monkeypatch)
    assert environment.ensure(tmp_path) == home


def test_what_could_not_be_installed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_installer_end_with(1, tmp_path, monkeypatch)

    with pytest.raises(LabError, match="ended with 1"):
        environment.ensure(tmp_path)

    assert list((tmp_path / "tests").iterdir()) == []


def test_other_pins_are_another_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.path(tmp_path)
    other = tmp_path / "requirements.lock"
    other.write_text("keystone==25.1.0\n")
    monkeypatch.setattr(environment, "LOCK", other)

    assert environment.path(tmp_path) != before


def test_a_cache_that_cannot_be_written_is_told_with_what_to_run(tmp_path: Path) -> None:
    """As for a user who runs pytest alone, where `make test` has made nothing yet."""
    (tmp_path / "tests").write_text("no folder")

    with pytest.raises(LabError, match="cannot be installed") as caught:
        environment.ensure(tmp_path)

    assert "-m tests.keystone.environment" in str(caught.value)


def test_the_command_ends_with_1_and_the_cause(tmp_path: Path) -> None:
    (tmp_path / "tests").write_text("no folder")
    command = [
        sys.executable,
        "-c",
        "import os; os.geteuid = lambda: 0; from tests.keystone import environment; environment.main()",
    ]
    done = subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}", "GLANCE_LAB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be installed" in done.stderr
