"""Hold a node in drain until nothing of it is in flight anywhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rolling_upgrade.decisions.drain import DrainAction, is_quiet, next_action
from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import Rotation, ServerView, why_not_take_out
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold, this_run
from rolling_upgrade.hooks.cut import cut
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.put_back import put_back
from rolling_upgrade.hooks.sessions import open_sessions
from rolling_upgrade.operators.way_back import refuse_contracted
from rolling_upgrade.triggers.waiting import Ask, Wait, WaitTrigger


class DrainedTrigger(WaitTrigger):
    """Drained: nothing in service or queued on any balancer, then maintenance, then no connection on the node.

    At every poll it looks whether each balancer still has the drain, since a restarted one forgets it and counts from
    0, and sets it again. When the time is over the run's ``on_drain_timeout`` decides: ``hold`` puts the node back into
    rotation and fails, ``ask`` asks a person, ``cut`` cuts. While a person is asked (``asked``) it goes on looking,
    without a limit: what drains in the meantime needs no answer. ``since`` (ISO 8601) begins the time anew.
    """

    poll_seconds = 0.5

    def __init__(self, *, asked: bool = False, since: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked = asked
        self.since = since
        self._established: list[int] = []
        self._history: list[tuple[float, int]] = []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        name, arguments = super().serialize()
        return name, {**arguments, "asked": self.asked, "since": self.since}

    def counts_from(self, earlier: Record | None) -> float:
        began = super().counts_from(earlier)
        return max(began, datetime.fromisoformat(self.since).timestamp()) if self.since else began

    def poll(self, wait: Wait) -> Record | Ask | None:
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
        if self._time_is_over(wait):
            return self._decide(wait, views)
        if progress.action is DrainAction.DRAIN_AGAIN:
            self._drain_again(wait, balancers, progress.lost_on)
        elif progress.action is DrainAction.ENTER_MAINTENANCE:
            hold(wait.fleet, this_run(self.task_instance))
            balancers.set_where(server, Admin.MAINT, lambda view: view.rotation is not Rotation.MAINTENANCE)
        return None

    def gives_up(self, wait: Wait) -> bool:
        return self._time_is_over(wait)

    def settle(self, wait: Wait, error: Exception) -> str:
        """Put the node back on every balancer that can be told: its service was not stopped."""
        return f"{wait.node.name} was {put_back(wait.fleet, wait.node, this_run(self.task_instance))}"

    def _time_is_over(self, wait: Wait) -> bool:
        return not self.asked and wait.elapsed > wait.plan.drain_timeout_seconds

    def _decide(self, wait: Wait, views: list[ServerView]) -> Record | Ask:
        """What the run was told to do when a drain takes too long. Raises VerifyError on ``hold``."""
        error = _not_drained(wait, views, self._established)
        if wait.plan.on_drain_timeout == "ask":
            return Ask(f"{error.found}\nNothing is cut while nobody answers; what drains meanwhile needs no answer.")
        if wait.plan.on_drain_timeout == "cut":
            me = this_run(self.task_instance)
            return cut(wait.fleet, wait.node, me, by="the run's on_drain_timeout", progress=self._history)
        raise error

    def _note(self, wait: Wait, open_requests: int, views: list[ServerView]) -> None:
        if not self._history or self._history[-1][1] != open_requests:
            self._history.append((round(wait.elapsed, 1), open_requests))
            self.say(f"{open_requests} requests open: " + "; ".join(map(str, views)))

    def _drain_again(self, wait: Wait, balancers: Balancers, lost_on: tuple[str, ...]) -> None:
        """Set a lost drain again; a node that is back in rotation may only leave as any node may."""
        if wait.plan.goes_back:
            refuse_contracted(
                wait.fleet,
                wait.release,
                safe="nothing was cut.",
                next_step="leave this run; the fleet stays on the release that it was contracted for",
            )
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
    _, listed = open_sessions(wait.fleet, wait.node)
    return VerifyError(
        f"{wait.node.name} is not drained after {wait.plan.drain_timeout_seconds} s: "
        + "; ".join(map(str, views))
        + f"{sockets}. {listed}.",
        expected="no open request on any balancer and no connection on the node.",
        safe="nothing was cut.",
        next_step="wait for the transfers to end, or trigger with a longer drain timeout; then clear take_out of this "
        "node.",
    )


def _passed_over(wait: Wait) -> bool:
    """Whether the node takes requests because it runs the target release, and not because a drain was lost."""
    return not why_not_proven(NodeHook.from_connection(wait.node).observe(wait.profile), wait.release)
