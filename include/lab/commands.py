"""Running programs of the machine."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from include.lab import cgroups, failures
from include.lab.errors import LabError


def run(
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    seconds: float = 120.0,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed. Raises LabError when it fails or takes too long."""
    words = [str(word) for word in command]
    shown = _shown(words)
    try:
        result = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=seconds, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"`{shown}` did not end well: {error}.", expected="exit status 0.") from error
    if check and result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-1500:]
        raise LabError(f"`{shown}` ended with {result.returncode}: {said}", expected="exit status 0.")
    return result


def _shown(words: Sequence[str]) -> str:
    """The command as an error names it: a script's source would tell nobody anything."""
    return shlex.join("(script)" if "\n" in word else word for word in words)[:160]


def privately(script: str, *arguments: str | Path) -> list[str]:
    """A shell script in a mount namespace of its own, with ``arguments`` as $0, $1 and so on.

    What it mounts is gone when its processes have ended, however they ended.
    """
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, *map(str, arguments)]


def spawn(command: Sequence[str | Path], *, group: str, log: Path) -> None:
    """Start a command that outlives this one, in the lab's cgroup ``group``, its output appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            cgroups.inside(group, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )


def run_logged(
    command: Sequence[str | Path],
    *,
    what: str,
    group: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 1800.0,
) -> None:
    """Run a long command that builds ``what``, in a cgroup of the lab, so that ``down`` can end it; output to ``log``.

    Raises LabError that names what could not be built and why, when it fails or takes too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                cgroups.inside(group, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            cgroups.kill(group)
            output.write(f"\nended after {seconds:g} s, which is the longest it may take\n".encode())
            status = -1
    if status != 0:
        cause = failures.cause(log.read_text(errors="replace"))
        raise LabError(
            f"{what} could not be built: {cause.why}",
            expected="a build that comes to its end.",
            safe="what was built before is as it was.",
            next_step=f"{cause.next_step}. The whole log: {log}",
        )
