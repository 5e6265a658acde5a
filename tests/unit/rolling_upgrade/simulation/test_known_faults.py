"""What the simulation has found and the workflow still does. Each test here fails once its fault is mended.

Then the test goes, and with it what ``strict`` passes over elsewhere for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.unit.rolling_upgrade.simulation.beneath import Beneath, simulated
from tests.unit.rolling_upgrade.simulation.scenario import Scenario, play, rest_of
from tests.unit.rolling_upgrade.simulation.strategies import scenarios, search


@pytest.fixture
def beneath() -> Iterator[Beneath]:
    with simulated() as under:
        yield under


def says(beneath: Beneath, scenario: Scenario, text: str) -> bool:
    try:
        rest_of(play(beneath, scenario, strict=True))
    except AssertionError as error:
        return text in str(error)
    return False


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        pytest.param(
            ["clear_any", "balancer_unreachable", "node_unreachable", "slow_transfer"],
            "back, which was stopped",
            id="a failed drain or stop puts a node back that was stopped",
        ),
        pytest.param(
            ["crash_loop"],
            "crash-loops: its unit is active",
            id="a unit that systemd brought up after a crash loop counts as crash-looping for ever",
        ),
    ],
)
def test_is_still_there(beneath: Beneath, kinds: list[str], text: str) -> None:
    search(scenarios(st.integers(2, 3), kinds=kinds, most_incidents=3), lambda scenario: says(beneath, scenario, text))
