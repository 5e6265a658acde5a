"""What a failed build tells, in the words of the programs as they wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.lab import cgroups, commands, failures
from include.lab.errors import LabError

UV_OFFLINE = """Using CPython 3.11.2 interpreter at: /usr/bin/python3
Creating virtual environment at: /opt/glance/releases/30.1.0
Using Python 3.11.2 environment at: /opt/glance/releases/30.1.0
error: Request failed after 3 retries in 4.8s
  cause: Failed to fetch: https://index.example/simple/eventlet/
  cause: error sending request for url (https://index.example/simple/eventlet/)
  cause: client error (Connect)
  cause: dns error
  cause: error resolving DNS
  cause: failed to lookup address information: Temporary failure in name resolution
"""
APT_OFFLINE = """Err:1 http://mirror.example/debian bookworm InRelease
  Temporary failure resolving 'mirror.example'
Reading package lists...
E: Unable to locate package gcc
"""
DEBOOTSTRAP_OFFLINE = """I: Retrieving InRelease
I: Retrieving Release
E: Failed getting release file http://mirror.example/debian/dists/bookworm/Release
"""
OTHER = "\n".join(f"line {i}" for i in range(40))


@pytest.mark.parametrize(
    ("log", "detail"),
    [
        (
            UV_OFFLINE,
            (
                "Failed to fetch: https://index.example/simple/eventlet/; "
                "failed to lookup address information: Temporary failure in name resolution"
            ),
        ),
        (APT_OFFLINE, "Temporary failure resolving 'mirror.example'"),
        (DEBOOTSTRAP_OFFLINE, "Failed getting release file http://mirror.example/debian/dists/bookworm/Release"),
    ],
)
def test_what_could_not_be_downloaded_is_told_with_the_reason(log: str, detail: str) -> None:
    found = failures.cause(log)
    assert found.why == f"its packages could not be downloaded ({detail})."
    assert found.next_step.startswith("check the network")


def test_a_full_disk_is_the_cause_also_where_a_download_broke_of_it() -> None:
    log = f"{UV_OFFLINE}error: write: No space left on device (os error 28)\n"
    assert failures.cause(log).why == "the disk is full (write: No space left on device (os error 28))."


def test_another_file_than_the_pinned_one_is_no_matter_of_the_network() -> None:
    found = failures.cause("error: Failed to fetch: `a`\n  cause: Hash mismatch for `eventlet==0.40.1`\n")
    assert found.why == "a package is not the pinned one (Hash mismatch for `eventlet==0.40.1`)."


def test_of_any_other_failure_the_end_of_the_log_is_told() -> None:
    told = failures.cause(OTHER).why.splitlines()
    assert told[0] == "the build said last:"
    assert told[1:] == [f"line {i}" for i in range(25, 40)]


def test_a_failed_build_names_what_was_built_and_never_the_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroups, "inside", lambda group, command: command)
    (tmp_path / "said").write_text(UV_OFFLINE)
    script = 'mkdir -p "$1"\ncat "$2"\nexit 2\n'
    with pytest.raises(LabError) as failed:
        commands.run_logged(
            ["sh", "-euc", script, "build", tmp_path / "made", tmp_path / "said"],
            what="release 30.1.0",
            group="build",
            log=tmp_path / "logs" / "release.log",
        )
    lines = str(failed.value).splitlines()
    assert lines[0].startswith("release 30.1.0 could not be built: its packages could not be downloaded (Failed to")
    assert lines[-1].endswith(f"The whole log: {tmp_path}/logs/release.log")
    assert "mkdir" not in str(failed.value)


def test_a_build_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "inside", lambda group, command: command)
    monkeypatch.setattr(cgroups, "kill", lambda group: None)
    with pytest.raises(LabError, match=r"could not be built: the build said last:\n\nended after 0.2 s"):
        commands.run_logged(["sleep", "30"], what="it", group="build", log=tmp_path / "log", seconds=0.2)


def test_a_failed_script_is_not_printed() -> None:
    with pytest.raises(LabError) as failed:
        commands.run(["sh", "-euc", "secret=1\nexit 3\n", "name"])
    assert str(failed.value).startswith("`sh -euc '(script)' name` ended with 3")
