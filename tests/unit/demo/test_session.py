"""The session's lock, with real processes: what the kernel does when one dies is the point of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.demo import session
from include.demo.processes import wait_until

PROJECT = Path(__file__).resolve().parents[3]
# The command line, with the file in another place than the machine's own.
COMMAND_LINE = """
import sys
from pathlib import Path
from include.demo import session
session.take.__defaults__ = session.held.__defaults__ = (Path(sys.argv[1]),)
session.main(sys.argv[2], sys.argv[3:])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.lock"


def start(path: Path, name: str, *command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-S", "-E", "-c", COMMAND_LINE, str(path), name, *command]
    return subprocess.Popen(
        words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another session, at work until its input ends."""
    process = start(path, "`make demo`", "sh", "-c", "echo at work; read forever")
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_session_is_refused_at_once_by_the_name_of_the_first(path: Path, other: subprocess.Popen[str]) -> None:
    refused = start(path, "`make test`", "echo", "at work")
    out, told = refused.communicate(timeout=20)
    assert (refused.returncode, out) == (session.BUSY, "")
    assert f"`make demo`, process {other.pid} of user id {os.getuid()} in {PROJECT}" in told
    assert "Nothing was changed" in told
    with pytest.raises(session.NoSessionError, match="make demo"), session.held("a third", path):
        pytest.fail("two sessions at once")


def test_a_killed_session_leaves_no_lock(path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait(5)
    with session.held("the next", path):
        assert f"the next, process {os.getpid()}" in path.read_text()


def test_what_runs_in_the_session_holds_it_and_its_children_do_not(path: Path) -> None:
    inner = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from include.demo import session\n"
        "with session.held('inner', Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['sleep', '30'], close_fds=False, stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = start(path, "outer", sys.executable, "-c", inner, str(path))
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        with pytest.raises(session.NoSessionError, match="outer"), session.held("another", path):
            pytest.fail("two sessions at once")
        process.kill()
        process.wait(5)
        assert wait_until(lambda: _is_free(path), 5), "the child holds it"
    finally:
        os.kill(child, 9)
        process.communicate()


def test_every_user_may_hold_it_and_nobody_can_point_it_elsewhere(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with session.held("one", path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)
    victim = path.with_name("victim")
    victim.write_text("mine")
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"), session.held("one", path):
        pytest.fail("it followed a link")
    assert victim.read_text() == "mine"


def _is_free(path: Path) -> bool:
    try:
        with session.held("a look", path):
            return True
    except session.NoSessionError:
        return False
