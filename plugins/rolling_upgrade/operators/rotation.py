"""Taking a node out of rotation and back, on every balancer."""

from __future__ import annotations

import time
from typing import Any

from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import is_in, is_out, views_of, why_not_take_out
from rolling_upgrade.decisions.soak import counts
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, VerifyError
from rolling_upgrade.evidence.record import Record, read, record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.operators.way_back import refuse_contracted

UP_SECONDS = 60.0
"""How long a balancer may take to show a ready server UP. Its checks have passed before."""
POLL_SECONDS = 0.25


class TakeOutOperator(NodeOperator):
    """Set ``drain`` on every balancer: no new request, what is in flight goes on, health checks too.

    Refuses when a balancer would keep too few servers or another node is out, and on the way back when contract has
    begun. When it cannot finish, it puts back what it took out.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        server, names = step.node.server_name, step.balancers.names
        views = step.balancers.views()
        if is_in(server, names, views) and step.runs_target():
            return record(f"runs {step.release} and is in rotation: passed over", changed=False, passed_over=True)
        if step.plan.goes_back:
            refuse_contracted(
                step.fleet,
                step.release,
                safe=f"{step.node.name} is as it was, and no request is affected.",
                next_step="leave this run; the fleet stays on the release that it was contracted for",
            )
        if is_out(server, names, views):
            return record("is out of rotation already", changed=False)
        reasons = why_not_take_out(server, names, views, step.fleet.defaults.min_in_rotation)
        if reasons:
            raise PrecheckError(
                f"{step.node.name} must not leave rotation now: " + "; ".join(reasons) + ".",
                expected="enough servers UP on every balancer without it, and no other node out.",
                safe="its rotation state is as before; no request is affected.",
                next_step="bring the servers that are named back UP, then clear this task.",
            )
        try:
            told = step.balancers.set_where(server, Admin.DRAIN, lambda view: not view.rotation.is_out)
            self._verify(step, told)
        except RollingUpgradeError:
            self._put_back(step, {view.balancer for view in views_of(server, views) if not view.rotation.is_out})
            raise
        return record(f"takes no new requests ({', '.join(told)})", changed=True)

    def _verify(self, step: NodeStep, told: list[str]) -> None:
        server, names = step.node.server_name, step.balancers.names
        views = step.balancers.views()
        # Asked again: another run may have taken another node out in the same moment. Then both put theirs back.
        reasons = why_not_take_out(server, names, views, step.fleet.defaults.min_in_rotation)
        if not is_out(server, names, views):
            reasons.append("it still takes new requests")
        if reasons:
            raise VerifyError(
                f"drain was set for {step.node.name} on {', '.join(told)}, and then: " + "; ".join(reasons) + ".",
                expected="the node draining on every balancer, enough others UP, and no other node out.",
                safe="nothing was cut; it is set ready again where it was before, as the log says.",
                next_step="look at `show servers state` of the balancers, then clear this task.",
            )

    def _put_back(self, step: NodeStep, was_in: set[str]) -> None:
        """As it was: what somebody else took out somewhere stays out there."""
        for hook in (hook for hook in step.balancers.hooks if hook.name in was_in):
            try:
                hook.set_state(step.node.server_name, Admin.READY)
                self.log.info("put back into rotation on %s", hook.name)
            except RollingUpgradeError as error:
                self.log.error("could not be put back on %s: %s", hook.name, error.found)


class ReturnToRotationOperator(NodeOperator):
    """Set ``ready`` on every balancer and see it UP there. Refuses a node that is not proven new."""

    def __init__(self, *, left: str, **kwargs: Any) -> None:
        """``left`` is the step that took the node out, or passed it over."""
        super().__init__(**kwargs)
        self.left = left

    def step(self, step: NodeStep, context: Any) -> Record:
        server, names = step.node.server_name, step.balancers.names
        reasons = why_not_proven(step.ssh.observe(step.profile), step.release)
        if reasons:
            raise PrecheckError(
                f"{step.node.name} is not proven to run {step.release}: " + "; ".join(reasons) + ".",
                expected=f"every process of the service to be of {step.release}.",
                safe="the node stays out of rotation; the other nodes serve.",
                next_step="clear take_out of this node with what follows it.",
            )
        before = step.balancers.views_of(server)
        if is_in(server, names, before):
            passed_over = self._was_passed_over(context)
            return record("is in rotation already", changed=False, passed_over=passed_over, errors=counts(before))
        told = step.balancers.set_where(server, Admin.READY, lambda view: not view.rotation.takes_new_requests)
        deadline = time.monotonic() + UP_SECONDS
        while not is_in(server, names, views := step.balancers.views_of(server)):
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{step.node.name} is not UP everywhere {UP_SECONDS:.0f} s after ready: "
                    + "; ".join(map(str, views))
                    + ".",
                    expected="UP on every balancer.",
                    safe="balancers send requests only to servers whose check passes; the next node does not begin.",
                    next_step="look at the health check of the balancer that is named, then clear this task.",
                )
            time.sleep(POLL_SECONDS)
        return record(f"takes requests again ({', '.join(told)})", changed=True, errors=counts(before))

    def _was_passed_over(self, context: Any) -> bool:
        ti = context["ti"]
        left = read(ti.xcom_pull(task_ids=self.left, map_indexes=ti.map_index))
        return bool(left and left.get("passed_over"))
