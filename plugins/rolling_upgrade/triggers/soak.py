"""Watch a node for a while after it came back."""

from __future__ import annotations

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import Rotation, ServerView, why_not_take_out
from rolling_upgrade.decisions.soak import too_many
from rolling_upgrade.errors import RollingUpgradeError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold, this_run
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger


class TooManyErrorsError(VerifyError):
    """The node answers its checks and fails its users: it must leave rotation again."""


class SoakTrigger(WaitTrigger):
    """For ``soak_seconds`` of the run: UP on every balancer and few errors there; proven at the end.

    Errors count from what the step before recorded. A node that makes too many goes out again. A node that was passed
    over has served all along and is not watched.
    """

    def poll(self, wait: Wait) -> Record | None:
        if wait.earlier and wait.earlier.get("passed_over"):
            return record("was passed over: nothing to watch", changed=False)
        balancers = Balancers.from_connections(wait.fleet)
        views = balancers.views_of(wait.node.server_name)
        errors = too_many((wait.earlier or {}).get("errors"), views, wait.fleet.defaults.soak_errors)
        if errors:
            raise TooManyErrorsError(
                f"{wait.node.name} made errors {wait.elapsed:.0f} s after its return: " + "; ".join(errors) + ".",
                expected=f"at most {wait.fleet.defaults.soak_errors} errors on each balancer while it soaks.",
                safe="the next node does not begin; the other nodes serve.",
                next_step=f"read `journalctl -u {wait.profile.unit}` on {wait.node.name}, mend it, then clear start of "
                "this node with what follows it.",
            )
        reasons = [str(view) for view in views if view.rotation is not Rotation.IN]
        over = wait.elapsed >= wait.plan.soak_seconds
        if over and not reasons:
            reasons = why_not_proven(NodeHook.from_connection(wait.node).observe(wait.profile), wait.release)
        if reasons:
            raise _not_well(wait, reasons)
        if not over:
            self.say(f"watches for {wait.plan.soak_seconds} s")
            return None
        return record(f"stayed well for {wait.plan.soak_seconds} s", changed=False)

    def settle(self, wait: Wait, error: Exception) -> str:
        """Take a node that fails its users out again, where the others can do without it."""
        if not isinstance(error, TooManyErrorsError):
            return ""
        balancers = Balancers.from_connections(wait.fleet)
        try:
            return _take_out(wait, balancers, balancers.views(), this_run(self.task_instance))
        except RollingUpgradeError as failed:
            return f"{wait.node.name} could NOT be taken out again: {failed.found}"


def _take_out(wait: Wait, balancers: Balancers, views: list[ServerView], me: Holder) -> str:
    server = wait.node.server_name
    reasons = why_not_take_out(server, balancers.names, views, wait.fleet.defaults.min_in_rotation)
    if reasons:
        return f"{wait.node.name} stays in rotation all the same: " + "; ".join(reasons)
    hold(wait.fleet, me)
    told = balancers.set_where(server, Admin.DRAIN, lambda view: not view.rotation.is_out)
    return f"{wait.node.name} was taken out of rotation again on {', '.join(told)}; what it serves now may end"


def _not_well(wait: Wait, reasons: list[str]) -> VerifyError:
    return VerifyError(
        f"{wait.node.name} did not stay well {wait.elapsed:.0f} s after its return: " + "; ".join(reasons) + ".",
        expected=f"UP on every balancer and nothing but {wait.release}, for {wait.plan.soak_seconds} s.",
        safe="balancers send requests only to servers whose check passes; the next node does not begin.",
        next_step=f"look at {wait.profile.unit} on {wait.node.name}; then clear start of this node with what follows.",
    )
