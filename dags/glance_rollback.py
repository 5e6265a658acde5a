"""Rollback of Glance to the release before: one workflow for each fleet file in ``include/fleets``.

It takes back an upgrade that is done or half done, one node at a time, with the steps of the upgrade. The database
stays as it is: until contract it serves both releases. After contract a rollback is refused; then the backup is the
way back.
"""

from __future__ import annotations

from airflow.sdk import DAG

from rolling_upgrade.alerts.deaths import default_args
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet, usable_fleets
from rolling_upgrade.form import rollback_form
from rolling_upgrade.node_turns import one_node_at_a_time
from rolling_upgrade.operators.closing import ReportOperator, VerifyOperator
from rolling_upgrade.operators.plan import PlanRollbackOperator
from rolling_upgrade.operators.preflight import PreflightOperator
from rolling_upgrade.operators.stage_release import StageReleaseOperator


def rollback(fleet: Fleet, catalogue: Catalogue) -> DAG:
    """The workflow for one fleet."""
    name = fleet.name
    with DAG(
        dag_id=f"{fleet.service}_rollback_{name}",
        description=f"Rollback of {fleet.service} on fleet {name} to the release before",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        # As for the upgrade: `plan` sees to it that one run at a time changes a fleet, and names the run that does.
        max_active_runs=16,
        params=rollback_form(fleet, catalogue),
        default_args=default_args(name),
        tags=["rollback", fleet.service, name],
    ) as dag:
        plan = PlanRollbackOperator(task_id="plan", fleet=name)
        preflight = PreflightOperator.partial(
            task_id="preflight", fleet=name, map_index_template="{{ task.node }}"
        ).expand(node=plan.output)
        stage_release = StageReleaseOperator.partial(
            task_id="stage_release", fleet=name, map_index_template="{{ task.node }}"
        ).expand(node=plan.output)
        nodes = one_node_at_a_time(name, "nodes", plan.output, nodes_from="plan")
        verify = VerifyOperator(task_id="verify", fleet=name)
        report = ReportOperator(task_id="report", fleet=name)

        plan >> preflight >> stage_release >> nodes >> verify >> report
    return dag


_catalogue = load_catalogue()
for _fleet in usable_fleets():
    globals()[f"{_fleet.service}_rollback_{_fleet.name}"] = rollback(_fleet, _catalogue)
