"""Each row of the table, on the real lab under load: Given a fault at a step, When it strikes, Then."""

from __future__ import annotations

import pytest

from include.demo.airflow_runner import RunningAirflow
from tests.drills.drill import Drill
from tests.drills.runner import Outcome, perform
from tests.drills.summary import OUTCOMES
from tests.drills.table import DRILLS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "drill",
    [pytest.param(drill, id=drill.name, marks=[pytest.mark.handful] if drill.handful else []) for drill in DRILLS],
)
@pytest.mark.usefixtures("fresh_fleet")
def test_drill(drill: Drill, airflow: RunningAirflow) -> None:
    outcome = Outcome(drill)
    OUTCOMES.append(outcome)
    perform(drill, airflow, outcome)
    outcome.passed = True
