"""Rolling upgrade of Glance: one workflow for each fleet file in ``include/fleets``.

The steps are those of the Glance administration guide, "Rolling Upgrades", in its order. Nothing here knows how a
step works; that is in the package ``rolling_upgrade``.
"""

from __future__ import annotations

from airflow.sdk import DAG, TaskGroup, task

from rolling_upgrade.alerts.deaths import default_args
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet, usable_fleets
from rolling_upgrade.form import upgrade_form
from rolling_upgrade.node_turns import one_node_at_a_time
from rolling_upgrade.operators.approve_contract import ApproveContractOperator
from rolling_upgrade.operators.backup import BackupDatabaseOperator
from rolling_upgrade.operators.check_database import CheckDatabaseOperator
from rolling_upgrade.operators.closing import ReportOperator, VerifyOperator
from rolling_upgrade.operators.database_phase import ContractOperator, ExpandOperator, MigrateOperator
from rolling_upgrade.operators.plan import PlanOperator
from rolling_upgrade.operators.preflight import PreflightOperator
from rolling_upgrade.operators.rotation import ReturnToRotationOperator, TakeOutOperator
from rolling_upgrade.operators.service import StartOperator, StopOperator, SwitchReleaseOperator
from rolling_upgrade.operators.stage_release import StageReleaseOperator
from rolling_upgrade.sensors.drained import DrainedSensor
from rolling_upgrade.sensors.waits import (
    HealthySensor,
    MigrationCompleteSensor,
    NoOldServicesSensor,
    PhaseCompleteSensor,
    SoakSensor,
)

NEW_NODE = "{{ ti.xcom_pull(task_ids='plan')[0] }}"


def rolling_upgrade(fleet: Fleet, catalogue: Catalogue) -> DAG:
    """The workflow for one fleet."""
    name = fleet.name
    with DAG(
        dag_id=f"{fleet.service}_rolling_upgrade_{name}",
        description=f"Rolling upgrade of {fleet.service} on fleet {name}",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        # One run at a time changes a fleet: `plan` sees to it, and names the run that does. Here a second would queue.
        max_active_runs=16,
        params=upgrade_form(fleet, catalogue),
        default_args=default_args(name),
        tags=["rolling-upgrade", fleet.service, name],
    ) as dag:
        plan = PlanOperator(task_id="plan", fleet=name)
        preflight = PreflightOperator.partial(
            task_id="preflight", fleet=name, map_index_template="{{ task.node }}"
        ).expand(node=plan.output)
        stage_release = StageReleaseOperator.partial(
            task_id="stage_release", fleet=name, map_index_template="{{ task.node }}"
        ).expand(node=plan.output)
        backup_database = BackupDatabaseOperator(task_id="backup_database", fleet=name)
        check_database = CheckDatabaseOperator(task_id="check_database", fleet=name, node=NEW_NODE)

        @task
        def line_up(nodes: list[str]) -> list[str]:
            """The nodes that follow the new node, in the order of their turns."""
            return nodes[1:]

        with TaskGroup("new_node_out") as new_node_out:
            (
                TakeOutOperator(task_id="take_out", fleet=name, node=NEW_NODE)
                >> DrainedSensor(task_id="drained", fleet=name, nodes_from="plan", after="new_node_out.take_out")
                >> StopOperator(task_id="stop", fleet=name, node=NEW_NODE, drained="new_node_out.drained")
                >> SwitchReleaseOperator(task_id="switch_release", fleet=name, node=NEW_NODE)
            )

        expand = ExpandOperator(task_id="expand", fleet=name, node=NEW_NODE)
        expand_complete = PhaseCompleteSensor(
            task_id="expand_complete", fleet=name, nodes_from="plan", after="expand", phase="expand"
        )
        migrate = MigrateOperator(task_id="migrate", fleet=name, node=NEW_NODE)
        migration_complete = MigrationCompleteSensor(task_id="migration_complete", fleet=name, nodes_from="plan")

        with TaskGroup("new_node_in") as new_node_in:
            (
                StartOperator(task_id="start", fleet=name, node=NEW_NODE)
                >> HealthySensor(task_id="healthy", fleet=name, nodes_from="plan", after="new_node_in.start")
                >> ReturnToRotationOperator(
                    task_id="return_to_rotation", fleet=name, node=NEW_NODE, left="new_node_out.take_out"
                )
                >> SoakSensor(task_id="soak", fleet=name, nodes_from="plan", after="new_node_in.return_to_rotation")
            )

        remaining = one_node_at_a_time(
            name, "remaining_nodes", line_up(plan.output), nodes_from="line_up", first="new_node_in.soak"
        )

        # With no remaining node the group is skipped, and the run goes on; a failure anywhere stops it here.
        no_old_services = NoOldServicesSensor(
            task_id="no_old_services", fleet=name, nodes_from="plan", trigger_rule="none_failed"
        )
        approve_contract = ApproveContractOperator(
            task_id="approve_contract", fleet=name, hours=fleet.defaults.approval_hours
        )
        contract = ContractOperator(task_id="contract", fleet=name, node=NEW_NODE)
        contract_complete = PhaseCompleteSensor(
            task_id="contract_complete", fleet=name, nodes_from="plan", after="contract", phase="contract"
        )
        verify = VerifyOperator(task_id="verify", fleet=name, trigger_rule="none_failed")
        report = ReportOperator(task_id="report", fleet=name)

        plan >> preflight >> stage_release >> backup_database >> check_database >> new_node_out
        new_node_out >> expand >> expand_complete >> migrate >> migration_complete >> new_node_in >> remaining
        [new_node_in, remaining] >> no_old_services >> approve_contract >> contract >> contract_complete
        contract_complete >> verify >> report
    return dag


_catalogue = load_catalogue()
for _fleet in usable_fleets():
    globals()[f"{_fleet.service}_rolling_upgrade_{_fleet.name}"] = rolling_upgrade(_fleet, _catalogue)
