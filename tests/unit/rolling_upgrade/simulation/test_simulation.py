"""Whatever goes wrong, in whatever order: what must never happen does not, and the upgrade can be brought to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.unit.rolling_upgrade.simulation.beneath import Beneath, simulated
from tests.unit.rolling_upgrade.simulation.incidents import KINDS, Incident
from tests.unit.rolling_upgrade.simulation.scenario import Scenario, play, rest_of

EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "0"))
"""More examples than usual, of another choice each time; 0 is the usual number, always the same ones."""

incidents = st.builds(
    Incident,
    after=st.integers(0, 120),
    kind=st.sampled_from(sorted(KINDS)),
    which=st.integers(0, 63),
    lasts=st.none() | st.integers(1, 400),
)
scenarios = st.builds(
    Scenario,
    nodes=st.integers(2, 6) | st.integers(2, 4),
    balancers=st.integers(1, 3),
    least=st.none() | st.integers(1, 2),
    versions=st.sampled_from([("26.1.0", "28.1.0"), ("28.1.0", "30.1.0")]),
    seed=st.integers(0, 2**32),
    incidents=st.lists(incidents, max_size=8),
)


@pytest.fixture(scope="module")
def beneath() -> Iterator[Beneath]:
    with simulated() as under:
        yield under


def checked(count: int) -> Any:
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@checked(200)
@given(scenario=scenarios)
def test_nothing_that_must_never_happen_happens_and_the_upgrade_ends_well(beneath: Beneath, scenario: Scenario) -> None:
    played = play(beneath, scenario)
    try:
        played.raise_if_broken()
        rest_of(played)
    except AssertionError:
        note(played.told())
        raise
