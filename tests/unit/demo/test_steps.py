"""The shell steps, as copies in a clone of their own, on a machine that lacks something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.lab import doctor

PROJECT = Path(__file__).resolve().parents[3]
TOOLS = ("sh", "dirname", "readlink", "cut", "sha256sum", "cat", "env", "mkdir")
APT = """#!/bin/sh
echo "apt-get $*"
echo "Unpacking one thing after another"
[ "$APT_STATUS" = 0 ] || echo "E: Failed to fetch" >&2
exit "$APT_STATUS"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the steps alone, and ``bin`` with all the programs that its machine has."""
    clone = tmp_path / "clone"
    shutil.copytree(PROJECT / "include/demo/steps", clone / "include/demo/steps")
    shutil.copy(PROJECT / "lab", clone / "lab")
    (clone / "requirements.lock").write_text("a==1\n")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    (tmp_path / "bin" / "python3.11").symlink_to(sys.executable)
    return clone


def has(clone: Path, program: str, script: str) -> None:
    path = clone.parent / "bin" / program
    path.write_text(script)
    path.chmod(0o755)


def step(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words),
        cwd=clone,
        env={"PATH": str(clone.parent / "bin"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_an_environment_that_cannot_be_compiled_is_not_begun(clone: Path) -> None:
    done = step(clone, "sh", "include/demo/steps/venv.sh", "full")
    assert done.returncode == 3
    assert "MySQL client cannot be compiled here" in done.stderr
    assert "Next: `make install`" in done.stderr
    assert not (clone / ".venv").exists()
    assert not (clone / "build").exists()


def test_a_compiler_without_the_headers_is_not_enough(clone: Path) -> None:
    has(clone, "gcc", "#!/bin/sh\nexit 1\n")
    has(clone, "pkg-config", "#!/bin/sh\nexit 0\n")
    assert "cannot be compiled here" in step(clone, "sh", "include/demo/steps/venv.sh", "full").stderr
    # With them it goes on, to what this machine does not have either.
    has(clone, "gcc", "#!/bin/sh\nexit 0\n")
    assert "cannot be compiled here" not in step(clone, "sh", "include/demo/steps/venv.sh", "full").stderr


@pytest.fixture
def debian(clone: Path) -> Path:
    """Debian, as root, without any of the packages."""
    has(clone, "dpkg-query", "#!/bin/sh\nexit 1\n")
    has(clone, "id", "#!/bin/sh\necho 0\n")
    has(clone, "apt-get", APT)
    return clone


def test_what_apt_says_goes_to_a_log(debian: Path) -> None:
    done = step(debian, "sh", "include/demo/steps/packages.sh", APT_STATUS="0")
    assert done.returncode == 0, done.stderr
    wanted = "python3.11 python3.11-venv python3.11-dev gcc pkg-config default-libmysqlclient-dev"
    assert done.stdout == f"Installing Debian packages: {wanted} (log: build/packages.log)\n"
    assert done.stderr == ""
    logged = (debian / "build/packages.log").read_text()
    assert "apt-get -q update\n" in logged
    assert "install -y --no-install-recommends python3.11 " in logged


def test_what_apt_says_is_shown_when_it_fails(debian: Path) -> None:
    done = step(debian, "sh", "include/demo/steps/packages.sh", APT_STATUS="100")
    assert done.returncode == 100
    assert "E: Failed to fetch\n" in done.stderr
    assert "Next: check the network" in done.stderr


def test_a_system_without_apt_is_told_so(clone: Path) -> None:
    done = step(clone, "sh", "include/demo/steps/packages.sh")
    assert done.returncode == 3
    assert "no apt-get" in done.stderr
    assert not (clone / "build").exists()


def test_where_the_environment_is_missing_make_install_is_named(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = step(clone, "./lab", "status")
    assert done.returncode == 3
    assert "Next: `make install`" in done.stderr
    monkeypatch.setattr(doctor, "PROGRAMS", {"no-such-program": "its-package"})
    assert "packages: its-package.\n    What would help: `make install`" in doctor.explain(doctor._packages())
