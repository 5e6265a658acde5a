"""The lab's command line as a person types it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from include.lab.settings import PROJECT_ROOT


@pytest.mark.parametrize(("words", "usage"), [((), "./lab [OPTIONS]"), (("load", "start"), "./lab load start ")])
def test_the_help_names_the_command_that_is_typed(words: tuple[str, ...], usage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "include.lab", *words, "--help"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"Usage: {usage}" in done.stdout
