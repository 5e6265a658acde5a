"""A unit test sees the defaults; one that wants another value sets it itself."""

from __future__ import annotations

import os

for name in [name for name in os.environ if name.startswith(("GLANCE_LAB_", "DEMO_", "ROLLING_UPGRADE_"))]:
    del os.environ[name]
