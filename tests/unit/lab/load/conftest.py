"""A service to put a load on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.lab.load.images_service import Service, running_service


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running
