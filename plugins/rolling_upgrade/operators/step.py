"""What every step of a run has in common: the plan, the fleet, the service's profile, and its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow.sdk import BaseOperator

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.planning import Plan
from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.errors import HeldError, RollingUpgradeError
from rolling_upgrade.evidence.record import Record
from rolling_upgrade.fleet.inventory import Fleet, Node, load_named
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold, this_run
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.services.registry import profile_of

PLAN_TASK = "plan"
PLAN_KEY = "plan"


@dataclass(frozen=True)
class NodeStep:
    """All that a step on one node works with. Its SSH connection is open."""

    fleet: Fleet
    profile: ServiceProfile
    plan: Plan
    node: Node
    ssh: NodeHook
    balancers: Balancers

    @property
    def release(self) -> str:
        return self.plan.target_release

    def runs_target(self) -> bool:
        """Whether the node is proven to run the target release, and nothing else, now."""
        return not why_not_proven(self.ssh.observe(self.profile), self.release)


def plan_of(context: Any) -> Plan:
    """The plan of this run, as its first task recorded it."""
    return Plan.from_dict(context["ti"].xcom_pull(task_ids=PLAN_TASK, key=PLAN_KEY))


class FleetOperator(BaseOperator):
    """A step that concerns the whole fleet. ``fleet`` is its name."""

    def __init__(self, *, fleet: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fleet = fleet

    def say(self, record: Record) -> Record:
        self.log.info("%s", record["did"])
        return record


class NodeOperator(BaseOperator):
    """A step on one node. A subclass gives ``step``: precheck, apply, verify.

    Before it begins, this run must hold the fleet. Raises HeldError when another run does, and has touched nothing.
    """

    needs_claim: ClassVar[bool] = True
    """False for a step that does nothing but return to safety."""
    template_fields: Sequence[str] = ("node",)

    def __init__(self, *, fleet: str, node: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fleet = fleet
        self.node = node

    def execute(self, context: Any) -> Record:
        fleet = load_named(self.fleet)
        node = fleet.node(self.node)
        me = this_run(context["ti"])
        try:
            if self.needs_claim:
                hold(fleet, me)
            with NodeHook.from_connection(node).connected() as ssh:
                record = self.step(
                    NodeStep(
                        fleet=fleet,
                        profile=profile_of(fleet.service),
                        plan=plan_of(context),
                        node=node,
                        ssh=ssh,
                        balancers=Balancers.from_connections(fleet),
                    ),
                    context,
                )
        except HeldError:
            raise  # a node of another run is not this one's to settle
        except RollingUpgradeError as error:
            error.settled = error.settled or self.settle(fleet, node, me)
            raise
        self.log.info("%s: %s", node.name, record["did"])
        return {"node": node.name, **record}

    def step(self, step: NodeStep, context: Any) -> Record:
        raise NotImplementedError

    def settle(self, fleet: Fleet, node: Node, me: Holder) -> str:
        """Leave things safe after a failure of ``step``; returns what was done, or nothing. Must not raise."""
        return ""
