"""Hold a node in drain until nothing of it is in flight anywhere."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.drain import DrainAction, is_quiet, next_action
from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import Rotation, ServerView
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.balancers import Balancers
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
            if progress.action is DrainAction.DRAIN_AGAIN:
                self.say(f"{', '.join(progress.lost_on)} lost the drain; it is set again")
                balancers.set_where(server, Admin.DRAIN, lambda view: not view.rotation.is_out)
            elif progress.action is DrainAction.ENTER_MAINTENANCE:
                balancers.set_where(server, Admin.MAINT, lambda view: view.rotation is not Rotation.MAINTENANCE)
        if wait.elapsed > wait.plan.drain_timeout_seconds:
            self._put_back(wait, balancers, views)
        return None

    def gives_up(self, wait: Wait) -> bool:
        return wait.elapsed > wait.plan.drain_timeout_seconds

    def _note(self, wait: Wait, open_requests: int, views: list[ServerView]) -> None:
        if not self._history or self._history[-1][1] != open_requests:
            self._history.append((round(wait.elapsed, 1), open_requests))
            self.say(f"{open_requests} requests open: " + "; ".join(map(str, views)))

    def _put_back(self, wait: Wait, balancers: Balancers, views: list[ServerView]) -> None:
        sockets = NodeHook.from_connection(wait.node).established(wait.profile.port)
        balancers.set_where(wait.node.server_name, Admin.READY, lambda view: view.rotation is not Rotation.IN)
        raise VerifyError(
            f"{wait.node.name} is not drained after {wait.plan.drain_timeout_seconds} s: "
            + "; ".join(map(str, views))
            + f"; {sockets} connections on the node.",
            expected="no open request on any balancer and no connection on the node.",
            safe="nothing was cut; the node is back in rotation on the old release.",
            next_step="wait for the transfers to end, or trigger with a longer drain timeout; then clear this node "
            "from take_out on.",
        )


def _passed_over(wait: Wait) -> bool:
    """Whether the node takes requests because it runs the target release, and not because a drain was lost."""
    return not why_not_proven(NodeHook.from_connection(wait.node).observe(wait.profile), wait.release)
