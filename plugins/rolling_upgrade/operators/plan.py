"""The first task: check what was asked against inventory, catalogue and world, and say what will happen."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.planning import Observation, Plan, describe, make_plan, read_request
from rolling_upgrade.decisions.proof import proven_release
from rolling_upgrade.decisions.rollback import Schema, make_rollback_plan, read_rollback
from rolling_upgrade.decisions.rotation import views_of
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet, load_named
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold, other_holder, refuse_other_holder, this_run
from rolling_upgrade.hooks.contract_mark import contract_began, forget_statement
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.log_bin_trust import put_back_if_idle
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import refuse_running_phase
from rolling_upgrade.operators.step import PLAN_KEY, FleetOperator
from rolling_upgrade.services.registry import profile_of


class PlanOperator(FleetOperator):
    """Returns the node names in the order of their turns, the new node first; the plan itself is XCom ``plan``.

    Changes nothing but who holds the fleet: from here on this run does; and it puts back what an earlier run could not.
    On ``dry_run`` not even that, and every later task is skipped. Raises RefusedError for what cannot work, and
    HeldError when another run holds the fleet.
    """

    def execute(self, context: Any) -> list[str]:
        fleet = load_named(self.fleet)
        catalogue = load_catalogue()
        plan = self._plan(dict(context["params"]), fleet, catalogue, this_run(context["ti"]))
        for line in describe(plan):
            self.log.info("%s", line)
        self._claim(fleet, this_run(context["ti"]), dry_run=plan.dry_run)
        context["ti"].xcom_push(key=PLAN_KEY, value=plan.to_dict())
        if plan.dry_run:
            self._skip_the_rest(context)
        return list(plan.nodes)

    def _plan(self, form: dict[str, Any], fleet: Fleet, catalogue: Catalogue, me: Holder) -> Plan:
        request = read_request(form, fleet, catalogue)
        if not request.dry_run:
            # First, since what else could be refused is what the other run is doing to the fleet just now.
            refuse_other_holder(fleet, me)
        return make_plan(request, _observe(fleet), fleet, catalogue)

    def _claim(self, fleet: Fleet, me: Holder, *, dry_run: bool) -> None:
        if dry_run:
            holder = other_holder(fleet, me)
            self.log.info("the fleet is %s", f"held by {holder}" if holder else "free for a run")
        else:
            self.log.info("this run may change the fleet: %s", hold(fleet, me).value)
            put_back_if_idle(fleet, profile_of(fleet.service), self.log)

    def _skip_the_rest(self, context: Any) -> None:
        from airflow.sdk.exceptions import DownstreamTasksSkipped

        self.log.info("Dry run: this is all; nothing was touched.")
        raise DownstreamTasksSkipped(
            tasks=[task.task_id for task in context["task"].get_flat_relatives(upstream=False)]
        )


class PlanRollbackOperator(PlanOperator):
    """The same for a rollback: the release before, while the schema still serves it."""

    def _plan(self, form: dict[str, Any], fleet: Fleet, catalogue: Catalogue, me: Holder) -> Plan:
        if form.get("dry_run") is not True:
            refuse_other_holder(fleet, me)
        # A phase at work would change the schema beneath the release that comes back.
        refuse_running_phase(fleet, profile_of(fleet.service))
        observed = _observe(fleet)
        begun = contract_began(fleet.database)
        schema = Schema(observed.heads, catalogue.release(begun) if begun else None, forget_statement(fleet.database))
        request = read_rollback(form, fleet, catalogue, observed, schema)
        return make_rollback_plan(request, observed, fleet, catalogue, schema)


def _observe(fleet: Fleet) -> Observation:
    profile = profile_of(fleet.service)
    releases: dict[str, str | None] = {}
    for node in fleet.nodes:
        try:
            releases[node.name] = proven_release(NodeHook.from_connection(node).observe(profile))
        except UnreachableError:
            # Preflight names an unreachable node of this run; for a node that the run leaves alone it is no obstacle
            # until contract, which asks again.
            releases[node.name] = None
    views = Balancers.from_connections(fleet).views()
    return Observation(
        releases=releases,
        heads=DatabaseHook(fleet.database).heads(),
        out=tuple(
            node.name for node in fleet.nodes if any(view.rotation.is_out for view in views_of(node.server_name, views))
        ),
    )
