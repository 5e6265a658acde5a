"""Which upgrades are simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st

from tests.unit.rolling_upgrade.simulation.incidents import KINDS, Incident
from tests.unit.rolling_upgrade.simulation.scenario import Scenario

MANY_EXAMPLES = 600
MANY_STEPS = 250
"""A fleet of three takes about 800 steps, so a few incidents are spread over all of it."""


def scenarios(
    nodes: st.SearchStrategy[int],
    *,
    most_incidents: int = 8,
    kinds: Sequence[str] = tuple(sorted(KINDS)),
    after: tuple[int, int] | None = None,
    begins: Sequence[str] = ("",),
    goes_back: Sequence[bool] = (False,),
) -> st.SearchStrategy[Scenario]:
    """Upgrades of fleets of that size, with incidents of these kinds, each so many steps after the one before it."""
    incidents = st.builds(
        Incident,
        after=st.integers(*after) if after else st.integers(0, MANY_STEPS) | st.integers(0, 20),
        kind=st.sampled_from(kinds) if kinds else st.nothing(),
        which=st.integers(0, 63),
        lasts=st.none() | st.integers(1, 400),
    )
    return st.builds(
        Scenario,
        nodes=nodes,
        balancers=st.integers(1, 3),
        least=st.none() | st.integers(1, 2),
        versions=st.sampled_from([("26.1.0", "28.1.0"), ("28.1.0", "30.1.0")]),
        seed=st.integers(0, 2**32),
        incidents=st.lists(incidents, max_size=most_incidents if kinds else 0),
        goes_on=st.integers(0, 300),
        begins=st.sampled_from(begins),
        goes_back=st.sampled_from(goes_back),
    )


def search(found_in: st.SearchStrategy[Scenario], wanted: Callable[[Scenario], bool]) -> Scenario:
    """The first upgrade of these that is as wanted; raises NoSuchExample after very many that are not."""
    return find(
        found_in,
        wanted,
        random=Random(1),
        settings=settings(
            max_examples=MANY_EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


few_nodes = st.integers(2, 4) | st.integers(2, 8)
