"""Hold a node in drain until nothing of it is in flight anywhere."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.drain import DrainAction, is_quiet, next_action
from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import Rotation, ServerView, why_not_take_out
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancer import Admin, BalancerHook
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold, other_holder, this_run
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger


class DrainedTrigger(WaitTrigger):
    """Drained: nothing in service or queued on any balancer, then maintenance, then no connection on the node.

    At every poll it looks whether each balancer still has the drain, since a restarted one forgets it and counts from
    0, and sets it again. When the time is over it puts the node back into rotation and fails: it never cuts.
    """

    poll_seconds = 0.5

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._established: list[int] = []
        self._history: list[tuple[float, int]] = []

    def poll(self, wait: Wait) -> Record | None:
        balancers = Balancers.from_connections(wait.fleet)
        server = wait.node.server_name
        views = balancers.views_of(server)
        progress = next_action(views)
        if progress.action is DrainAction.DRAIN_AGAIN and _passed_over(wait):
            return record(f"runs {wait.release} and serves: nothing to drain", changed=False, passed_over=True)
        self._note(wait, progress.open_requests, views)
        if progress.action is DrainAction.COUNT_SOCKETS:
            self._established.append(NodeHook.from_connection(wait.node).established(wait.profile.port))
            if is_quiet(self._established):
                return record(
                    f"drained after {wait.elapsed:.1f} s", changed=True, progress=self._history, seconds=wait.elapsed
                )
        else:
            self._established.clear()
        if wait.elapsed > wait.plan.drain_timeout_seconds:
            raise _not_drained(wait, views, self._established)
        if progress.action is DrainAction.DRAIN_AGAIN:
            self._drain_again(wait, balancers, progress.lost_on)
        elif progress.action is DrainAction.ENTER_MAINTENANCE:
            hold(wait.fleet, this_run(self.task_instance))
            balancers.set_where(server, Admin.MAINT, lambda view: view.rotation is not Rotation.MAINTENANCE)
        return None

    def gives_up(self, wait: Wait) -> bool:
        return wait.elapsed > wait.plan.drain_timeout_seconds

    def settle(self, wait: Wait) -> str:
        """Put the node back on every balancer that can be told: its service was not stopped."""
        if holder := self._held_by_another(wait):
            return f"{wait.node.name} was left as it is: fleet {wait.fleet.name} is held by {holder}"
        server, back, not_back = wait.node.server_name, [], []
        for balancer in wait.fleet.balancers:
            try:
                _ready(BalancerHook.from_connection(balancer), server)
                back.append(balancer.name)
            except RollingUpgradeError as error:
                not_back.append(f"{balancer.name} ({error.found})")
        parts = [f"put back into rotation on {', '.join(back)}"] if back else []
        parts += [f"NOT put back on {'; '.join(not_back)}: set it ready there by hand"] if not_back else []
        return f"{wait.node.name} still runs and was {', '.join(parts)}"

    def _held_by_another(self, wait: Wait) -> Holder | None:
        """Another run may have stopped the node. A database that does not answer keeps no node out of rotation."""
        try:
            return other_holder(wait.fleet, this_run(self.task_instance))
        except RollingUpgradeError as error:
            self.log.warning("not known whether another run holds the fleet: %s", error.found)
            return None

    def _note(self, wait: Wait, open_requests: int, views: list[ServerView]) -> None:
        if not self._history or self._history[-1][1] != open_requests:
            self._history.append((round(wait.elapsed, 1), open_requests))
            self.say(f"{open_requests} requests open: " + "; ".join(map(str, views)))

    def _drain_again(self, wait: Wait, balancers: Balancers, lost_on: tuple[str, ...]) -> None:
        """Set a lost drain again; a node that is back in rotation may only leave as any node may."""
        server = wait.node.server_name
        least = wait.fleet.defaults.min_in_rotation
        reasons = why_not_take_out(server, balancers.names, balancers.views(), least)
        if reasons:
            raise PrecheckError(
                f"{wait.node.name} lost its drain on {', '.join(lost_on)}, and must not leave now: "
                + "; ".join(reasons)
                + ".",
                expected="enough servers UP on every balancer without it, and no other node out.",
                safe="nothing was cut.",
                next_step="bring the servers that are named back UP, then clear take_out of this node.",
            )
        hold(wait.fleet, this_run(self.task_instance))
        self.say(f"{', '.join(lost_on)} lost the drain; it is set again")
        balancers.set_where(server, Admin.DRAIN, lambda view: not view.rotation.is_out)


def _not_drained(wait: Wait, views: list[ServerView], established: list[int]) -> VerifyError:
    sockets = f"; {established[-1]} connections on the node" if established else ""
    return VerifyError(
        f"{wait.node.name} is not drained after {wait.plan.drain_timeout_seconds} s: "
        + "; ".join(map(str, views))
        + f"{sockets}.",
        expected="no open request on any balancer and no connection on the node.",
        safe="nothing was cut.",
        next_step="wait for the transfers to end, or trigger with a longer drain timeout; then clear take_out of this "
        "node.",
    )


def _ready(hook: BalancerHook, server: str) -> None:
    """Back into rotation; out of maintenance only once new checks have passed, in case the node died meanwhile."""
    if any(view.server == server and view.rotation is Rotation.MAINTENANCE for view in hook.servers()):
        hook.set_state(server, Admin.DRAIN)
        hook.forget_health(server)
    hook.set_state(server, Admin.READY)


def _passed_over(wait: Wait) -> bool:
    """Whether the node takes requests because it runs the target release, and not because a drain was lost."""
    return not why_not_proven(NodeHook.from_connection(wait.node).observe(wait.profile), wait.release)
