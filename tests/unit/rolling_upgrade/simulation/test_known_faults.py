"""What the simulation has found and the workflow still does. Each test here fails once its fault is mended.

Then the test goes, and with it what ``strict`` passes over elsewhere for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.unit.rolling_upgrade.simulation.beneath import Beneath, simulated
from tests.unit.rolling_upgrade.simulation.incidents import Incident
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


def test_a_stop_whose_answer_is_lost_puts_the_stopped_node_back(beneath: Beneath) -> None:
    """The same is done by a drain that is cleared after the stop and then fails."""
    struck = (
        Scenario(nodes=2, seed=seed, incidents=(Incident(after, "node_unreachable", 1, None),))
        for seed in range(3)
        for after in range(60, 160)
    )
    assert any(says(beneath, scenario, "back, which was stopped") for scenario in struck)


def test_a_unit_that_systemd_brought_up_after_a_crash_loop_counts_as_crash_looping_for_ever(beneath: Beneath) -> None:
    search(
        scenarios(st.integers(2, 3), kinds=["crash_loop"], most_incidents=3),
        lambda scenario: says(beneath, scenario, "crash-loops: its unit is active"),
    )
