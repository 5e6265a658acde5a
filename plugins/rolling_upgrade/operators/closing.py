"""The end of a run: see that the fleet is whole on the new release, and say what happened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rolling_upgrade.decisions.phases import SchemaState
from rolling_upgrade.decisions.proof import proven_release
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import RollingUpgradeError, VerifyError
from rolling_upgrade.evidence.record import Record, read, record
from rolling_upgrade.evidence.report import NodeRecords, as_lines, node_report
from rolling_upgrade.fleet.inventory import load_named
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import release, this_run
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.log_bin_trust import put_back_when_idle
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import schema_state
from rolling_upgrade.operators.approve_contract import ANSWER
from rolling_upgrade.operators.step import FleetOperator, plan_of
from rolling_upgrade.sensors.drained import ANSWERS
from rolling_upgrade.services.registry import profile_of

CONTRACT_TASK, APPROVAL_TASK = "contract", "approve_contract"


class VerifyOperator(FleetOperator):
    """Every node of the run proven new and UP on every balancer; the schema where the run should leave it.

    Changes nothing, but that the database server gets back what the phases had set, should that be left to do. Raises
    VerifyError with all that is not so.
    """

    def execute(self, context: Any) -> Record:
        plan = plan_of(context)
        fleet = load_named(self.fleet)
        profile = profile_of(fleet.service)
        if said := put_back_when_idle(fleet, profile):
            self.log.info("%s", said)
        proven = {
            name: proven_release(NodeHook.from_connection(fleet.node(name)).observe(profile)) for name in plan.nodes
        }
        wrong = [
            f"{name} is proven to run {release}" for name, release in proven.items() if release != plan.target_release
        ]
        servers = {fleet.node(name).server_name for name in plan.nodes}
        views = Balancers.from_connections(fleet).views()
        wrong.extend(str(view) for view in views if view.server in servers and view.rotation is not Rotation.IN)
        state = None
        if not plan.goes_back:  # the release before cannot read an expanded schema's revisions
            state = schema_state(NodeHook.from_connection(fleet.node(plan.nodes[0])), profile, plan.target_release)
            contracted = context["ti"].xcom_pull(task_ids=CONTRACT_TASK)
            allowed = {SchemaState.CURRENT} if contracted else {SchemaState.CURRENT, SchemaState.CONTRACT_NEEDED}
            if state not in allowed:
                wrong.append(f"db check says {state.value} ({state.name.lower()})")
        if wrong:
            raise VerifyError(
                "the fleet is not as this run should leave it: " + "; ".join(wrong) + ".",
                expected=f"all nodes on {plan.target_release} and in rotation, the schema current.",
                safe="what serves goes on serving; nothing more is changed.",
                next_step="mend what is named, then clear this task.",
            )
        return self.say(
            record(
                f"{', '.join(plan.nodes)} run {plan.target_release} and are in rotation"
                + (f"; db check {state.value}" if state else ""),
                changed=False,
                proven=proven,
                db_check=state.value if state else None,
                db_heads=list(DatabaseHook(fleet.database).heads()),
            )
        )


class ReportOperator(FleetOperator):
    """Gather the records of the steps into the run's report, its result; then let the next run have the fleet."""

    def execute(self, context: Any) -> dict[str, Any]:
        ti, plan = context["ti"], plan_of(context)
        verified = ti.xcom_pull(task_ids="verify")
        started, finished = context["dag_run"].start_date, datetime.now(UTC)
        group, mapped = ("nodes", plan.nodes) if plan.goes_back else ("remaining_nodes", plan.nodes[1:])
        report = {
            "fleet": plan.fleet,
            "run_id": context["run_id"],
            "from_release": next((r for r in plan.from_releases.values() if r not in (None, plan.target_release)), None)
            or plan.target_release,
            "to_release": plan.target_release,
            "started_at": started.isoformat(timespec="milliseconds"),
            "finished_at": finished.isoformat(timespec="milliseconds"),
            "duration_s": round((finished - started).total_seconds(), 3),
            "db_check": verified["db_check"],
            "db_heads": verified["db_heads"],
            "backup": ti.xcom_pull(task_ids="backup_database"),
            "approval": ti.xcom_pull(task_ids=APPROVAL_TASK, key=ANSWER),
            "contracted": bool(ti.xcom_pull(task_ids=CONTRACT_TASK)),
            "nodes": [
                node_report(
                    _records(ti, name, group, mapped.index(name) if name in mapped else None),
                    verified["proven"].get(name),
                )
                for name in plan.nodes
            ],
        }
        for line in as_lines(report):
            self.log.info("%s", line)
        self._release(ti)
        return report

    def _release(self, ti: Any) -> None:
        """A claim that stays is no reason to fail a run that is done: the next run of this Airflow takes it over."""
        try:
            if release(load_named(self.fleet), this_run(ti)):
                self.log.info("this run no longer holds the fleet")
        except RollingUpgradeError as error:
            self.log.error("this run still holds the fleet, until another run of this Airflow takes over: %s", error)


def _records(ti: Any, name: str, group: str, index: int | None) -> NodeRecords:
    """Those of a node at its index in the mapped group, or of the new node, which has its own groups."""
    out, back = ("new_node_out", "new_node_in") if index is None else (group, group)
    which = -1 if index is None else index

    def pull(task: str) -> Record | None:
        return read(ti.xcom_pull(task_ids=task, map_indexes=which))

    answers = ti.xcom_pull(task_ids=f"{out}.drained", key=ANSWERS, map_indexes=which) or ()

    return NodeRecords(
        name=name,
        take_out=pull(f"{out}.take_out"),
        drained=pull(f"{out}.drained"),
        return_to_rotation=pull(f"{back}.return_to_rotation"),
        answers=answers,
    )
