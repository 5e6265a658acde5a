"""A unit test sees the defaults; one that wants another value sets it itself."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GLANCE_LAB_", "DEMO_", "ROLLING_UPGRADE_")):
            monkeypatch.delenv(name)
