"""Stopping, switching and starting the service on a node that is out of rotation."""

from __future__ import annotations

import time
from typing import Any

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.decisions.proof import NodeView, why_not_proven, why_not_stopped
from rolling_upgrade.decisions.rotation import Rotation, is_in, is_out, views_of, why_not_take_out
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import Record, read, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.put_back import put_back
from rolling_upgrade.hooks.unit import ServiceUnit
from rolling_upgrade.operators.stage_release import expected_sum
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.operators.way_back import refuse_contracted

MIGRATION_TASK = "migration_complete"
GONE_SECONDS = 15.0
"""How long after a kill the last process or socket may still be seen."""
POLL_SECONDS = 0.25
# A rename replaces the old link in one step; there is no moment without a `current`.
SWITCH = 'rm -f "$1.new"; ln -s "$2" "$1.new"; mv -T "$1.new" "$1"'


class StopOperator(NodeOperator):
    """Stop the unit of a drained node and see that nothing of it is left.

    Refuses a node that a balancer still sends requests to or that still serves one, unless the drain before it was
    cut by choice: on a stop the service cuts what is in flight. A failure before the stop began puts the node back
    into rotation; afterwards it stays out. Nothing is killed unless the fleet file allows it.
    """

    def __init__(self, *, drained: str, **kwargs: Any) -> None:
        """``drained`` is the step whose record tells whether somebody chose to cut."""
        super().__init__(**kwargs)
        self.drained = drained
        self._begun = False

    def step(self, step: NodeStep, context: Any) -> Record:
        unit = ServiceUnit(step.ssh, step.profile)
        view = step.ssh.observe(step.profile)
        if not why_not_proven(view, step.release):
            return record(f"runs {step.release} already: not stopped", changed=False)
        self._begun = view.active_state in ("deactivating", "inactive", "failed")
        if not why_not_stopped(view):
            _refuse_to_keep_out(step)
            unit.hold()
            return record("is stopped already", changed=False)
        if not self._begun:
            _refuse_busy(step, view, cut=self._chosen_cut(context))
            unit.hold()
            self._begin(step, unit)
        self._see_it_end(step, unit)
        return record("stopped: no process, no listener, no connection", changed=True)

    def settle(self, fleet: Fleet, node: Node, me: Holder) -> str:
        if self._begun:
            return ""
        return f"{node.name} was {put_back(fleet, node, me)}; clear take_out of this node with what follows it"

    def _chosen_cut(self, context: Any) -> bool:
        ti = context["ti"]
        drained = read(ti.xcom_pull(task_ids=self.drained, map_indexes=ti.map_index))
        return bool(drained and drained.get("cut"))

    def _begin(self, step: NodeStep, unit: ServiceUnit) -> None:
        # Before it is told: an answer that is lost on its way may be that of a stop that has begun.
        self._begun = True
        try:
            unit.begin_stop()
        except VerifyError as error:
            self._begun = False
            unit.let_go()
            raise PrecheckError(
                error.found,
                expected="systemd to take the stop of the unit.",
                safe="the service was not stopped; no request was cut.",
                next_step="mend what systemd names on the node, then clear take_out of this node with what follows it.",
            ) from error

    def _see_it_end(self, step: NodeStep, unit: ServiceUnit) -> None:
        self._begun = True
        allowed = step.fleet.stop
        reasons = _until_stopped(step, allowed.seconds)
        if reasons and allowed.kill:
            self.log.warning("not ended after %d s, and the fleet file allows a kill: %s", allowed.seconds, reasons)
            unit.kill()
            reasons = _until_stopped(step, GONE_SECONDS)
        if reasons:
            raise VerifyError(
                f"{step.profile.unit} on {step.node.name} was told to stop, and {allowed.seconds} s later "
                + "; ".join(reasons)
                + ".",
                expected="no process of the unit, no listener and no connection on the port.",
                safe="the node is out of rotation; the other nodes serve; nothing was killed and nothing switched.",
                next_step="end what is named on the node by its pid (or allow it: `stop: {kill: true}` in the fleet "
                "file), then clear this task.",
            )


def _refuse_to_keep_out(step: NodeStep) -> None:
    """A stopped service that nobody took out, as after a loss of power, is kept out only as any node may leave."""
    server, views = step.node.server_name, step.balancers.views()
    if is_out(server, step.balancers.names, views):
        return
    reasons = why_not_take_out(server, step.balancers.names, views, step.fleet.defaults.min_in_rotation)
    if reasons:
        raise PrecheckError(
            f"{step.node.name} is stopped and was not taken out of rotation, and must not be kept out now: "
            + "; ".join(reasons)
            + ".",
            expected="a node that is out of rotation, or enough servers UP without it and no other node out.",
            safe="the service may be started, by hand or by a start of the node; rotation is as before.",
            next_step="start the service on this node again; bring the servers that are named UP; then clear take_out "
            "of this node with what follows it.",
        )


def _refuse_busy(step: NodeStep, view: NodeView, *, cut: bool) -> None:
    """Raise PrecheckError while the node serves anything or a balancer may send it more."""
    busy = [f"{view.established} connections are established on the node"] if view.established and not cut else []
    # Asked last, right before the stop: in maintenance no balancer opens a connection to the node.
    busy += [
        str(server)
        for server in step.balancers.views_of(step.node.server_name)
        if server.rotation is not Rotation.MAINTENANCE or (server.open_requests and not cut)
    ]
    if busy:
        raise PrecheckError(
            f"{step.node.name} is not drained: " + "; ".join(busy) + ".",
            expected="maintenance on every balancer, nothing open there, and no connection on the node.",
            safe="the service was not stopped; no request was cut.",
            next_step="clear take_out of this node with what follows it: the drain begins again.",
        )


def _until_stopped(step: NodeStep, seconds: float) -> list[str]:
    """Wait until nothing of the service is left, at most so many seconds; returns what is left then."""
    deadline = time.monotonic() + seconds
    while (reasons := why_not_stopped(step.ssh.observe(step.profile))) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return reasons


class SwitchReleaseOperator(NodeOperator):
    """Point ``current`` at the staged release of a stopped node. Binaries and configuration change in one rename."""

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        if view.current == step.release:
            return record(f"is switched to {step.release} already", changed=False)
        reasons = why_not_stopped(view)
        missing = ["stop"] if reasons else []
        if step.release not in view.complete_releases:
            reasons.append(f"{step.release} is not staged")
            missing.append("stage_release")
        elif view.archives.get(step.release) not in (None, "", expected_sum(step)):
            reasons.append(f"{step.release} was staged from another archive than the one to be rolled out")
            missing.append("stage_release")
        if reasons:
            raise PrecheckError(
                f"{step.node.name} cannot be switched: " + "; ".join(reasons) + ".",
                expected="a stopped service and a complete tree of the new release.",
                safe="the symlink was not changed.",
                next_step=f"clear {' and '.join(missing)} of this node, alone; when done, clear this task.",
            )
        step.ssh.script("switching the release", SWITCH, step.profile.current, f"releases/{step.release}")
        now = step.ssh.observe(step.profile).current
        if now != step.release:
            raise VerifyError(
                f"{step.profile.current} on {step.node.name} names {now} after the switch.",
                expected=step.release,
                safe="the service is stopped and out of rotation.",
                next_step="look who else changes this symlink, then clear this task.",
            )
        return record(f"switched from {view.current} to {step.release}", changed=True)


class StartOperator(NodeOperator):
    """Start the unit on the new release, and let the balancers check the node again without sending requests.

    Refuses while the database has not been expanded and migrated for it; on the way back, once it was contracted.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        proven = not why_not_proven(view, step.release)
        if proven and is_in(step.node.server_name, step.balancers.names, step.balancers.views()):
            return record(f"runs {step.release} and is in rotation: passed over", changed=False)
        if not proven:
            if step.plan.goes_back:
                refuse_contracted(
                    step.fleet,
                    step.release,
                    safe=f"{step.node.name} was not started and is out of rotation; the other nodes serve.",
                    next_step="upgrade this node again with a run of the upgrade",
                )
            else:
                _refuse_too_early(step, context)
            if view.current != step.release:
                raise PrecheckError(
                    f"{step.node.name} is switched to {view.current}.",
                    expected=f"`current` to name {step.release}.",
                    safe="the service was not started; the node is out of rotation.",
                    next_step="clear switch_release of this node.",
                )
        _refuse_to_leave(step)
        _let_check(step)
        unit = ServiceUnit(step.ssh, step.profile)
        if proven:
            # systemd may have brought it up after many a crash whose cause is mended now.
            unit.forget_restarts()
            return record(f"runs {step.release} already; the balancers check it anew", changed=False)
        unit.start()
        return record(f"started on {step.release}", changed=True)


def _refuse_to_leave(step: NodeStep) -> None:
    """A node that takes requests somewhere, as after a balancer's restart, leaves only as any node may."""
    server, views = step.node.server_name, step.balancers.views()
    if not any(view.rotation.takes_new_requests for view in views_of(server, views)):
        return
    reasons = why_not_take_out(server, step.balancers.names, views, step.fleet.defaults.min_in_rotation)
    if reasons:
        raise PrecheckError(
            f"{step.node.name} takes requests, and must not leave rotation now: " + "; ".join(reasons) + ".",
            expected="a node that is out of rotation, or enough servers UP without it and no other node out.",
            safe="the service was not started anew; rotation is as before.",
            next_step="bring the servers that are named UP, then clear take_out of this node with what follows it.",
        )


def _let_check(step: NodeStep) -> None:
    """Have every balancer check the node without sending it requests, and forget what checks said before.

    Before the start, and on every balancer: one that was restarted meanwhile has forgotten that the node is out,
    and would send it requests as soon as it answers. Maintenance stops checks; drain has them.
    """
    server = step.node.server_name
    for hook in step.balancers.hooks:
        hook.set_state(server, Admin.DRAIN)
        hook.forget_health(server)
    views = step.balancers.views()
    if not is_out(server, step.balancers.names, views):
        raise VerifyError(
            f"{step.node.name} is not out of rotation: " + "; ".join(map(str, views_of(server, views))) + ".",
            expected="drain on every balancer before the new release starts.",
            safe="the service was not started.",
            next_step="see who else changes the server's state on the balancers, then clear this task.",
        )


def _refuse_too_early(step: NodeStep, context: Any) -> None:
    heads = load_catalogue().release(step.release).heads
    found = DatabaseHook(step.fleet.database).heads()
    migrated = context["ti"].xcom_pull(task_ids=MIGRATION_TASK, map_indexes=None)
    if heads.phase_is_done(Phase.EXPAND, found) and migrated:
        return
    raise PrecheckError(
        f"the database is at {', '.join(found) or 'no revision'}, and migration_complete "
        f"{'is recorded' if migrated else 'has not been seen'} in this run.",
        expected=f"a schema expanded and migrated for {step.release}.",
        safe=f"{step.node.name} was not started and is out of rotation; the other nodes serve.",
        next_step="let expand, migrate and migration_complete finish (clear them if they failed), then this task.",
    )
