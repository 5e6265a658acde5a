"""Whether the demo can run: its settings, and this machine. Reads, never writes. Standard library only, any python3.

    python3 -m include.demo.can_run

Exit status: 0 it can; 2 a DEMO_* setting is wrong; 3 it cannot, and the text says what is missing and what would help.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from include.demo import choices
from include.lab import doctor

CAN, BAD_SETTING, CANNOT = 0, 2, 3
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def machine() -> list[doctor.Lack]:
    """What stands in the way and cannot be installed from the distribution."""
    found = [lack for lack in doctor.examine() if not lack.installable]
    # On another system the lab's doctor has said so already, and apt cannot be asked.
    return found if found else python_lack(shutil.which("python3.11") is not None, apt_has)


def python_lack(installed: bool, in_lists: Callable[[str], bool]) -> list[doctor.Lack]:
    """The lock file is for Python 3.11. ``in_lists`` tells whether the package lists know a package."""
    # Without any lists nothing can be said yet: `apt-get update` comes with the installation.
    if installed or in_lists("python3.11") or not in_lists("python3"):
        return []
    return [doctor.Lack("this release of the distribution has no Python 3.11", "Debian 12, whose Python it is")]


def apt_has(package: str) -> bool:
    """Whether the package lists on this machine hold the package."""
    shown = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return shown.returncode == 0


def main() -> int:
    """Say what is in the way, or nothing."""
    try:
        choices.read(os.environ, PROJECT_ROOT / "include" / "releases")
    except choices.BadChoiceError as error:
        print(error, file=sys.stderr)
        return BAD_SETTING
    lacking = machine()
    if not lacking:
        sys.stderr.write(doctor.unchecked())
        return CAN
    print(doctor.explain(lacking), file=sys.stderr)
    print("Nothing was changed. `make check` runs here all the same.", file=sys.stderr)
    return CANNOT


if __name__ == "__main__":
    sys.exit(main())
