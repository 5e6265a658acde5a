from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.demo import can_run

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("installed", "lists", "lacks"),
    [
        (True, set(), False),
        (False, {"python3", "python3.11"}, False),
        (False, {"python3"}, True),
        (False, set(), False),
    ],
)
def test_python_is_missing_only_where_the_package_lists_say_so(installed: bool, lists: set[str], lacks: bool) -> None:
    assert bool(can_run.python_lack(installed, lists.__contains__)) is lacks


def test_it_needs_nothing_but_the_standard_library() -> None:
    # -S leaves out installed packages, -E the environment's paths: what a fresh machine has.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", "import include.demo.can_run"], cwd=PROJECT, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_bad_setting_is_told_before_anything_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "include.demo.can_run"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "DEMO_NODES": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == can_run.BAD_SETTING
    assert "at least 2 nodes" in done.stderr
