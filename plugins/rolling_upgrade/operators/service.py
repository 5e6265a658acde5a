"""Stopping, switching and starting the service on a node that is out of rotation."""

from __future__ import annotations

import time
from typing import Any

from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.decisions.proof import why_not_proven, why_not_stopped
from rolling_upgrade.decisions.rotation import Rotation, is_in, is_out, views_of
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.operators.step import NodeOperator, NodeStep

MIGRATION_TASK = "migration_complete"
STOP_SECONDS = 120.0
GONE_SECONDS = 15.0
"""How long after a stop that systemd calls done the last process or socket may still be seen."""
POLL_SECONDS = 0.25
# A rename replaces the old link in one step; there is no moment without a `current`.
SWITCH = 'rm -f "$1.new"; ln -s "$2" "$1.new"; mv -T "$1.new" "$1"'


class StopOperator(NodeOperator):
    """Stop the unit of a drained node and see that nothing of it is left.

    Refuses a node that a balancer still sends requests to or that still serves one: on a stop the service cuts
    what is in flight.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        if not why_not_proven(view, step.release):
            return record(f"runs {step.release} already: not stopped", changed=False)
        if not why_not_stopped(view):
            return record("is stopped already", changed=False)
        busy = [f"{view.established} connections are established on the node"] if view.established else []
        # Asked last, right before the stop: in maintenance no balancer opens a connection to the node.
        busy += [
            str(server)
            for server in step.balancers.views_of(step.node.server_name)
            if server.rotation is not Rotation.MAINTENANCE or server.open_requests
        ]
        if busy:
            raise PrecheckError(
                f"{step.node.name} is not drained: " + "; ".join(busy) + ".",
                expected="maintenance on every balancer, nothing open there, and no connection on the node.",
                safe="the service was not stopped; no request was cut.",
                next_step="clear this node from take_out on: the drain begins again.",
            )
        step.ssh.must_run(["systemctl", "stop", step.profile.unit], sudo="root", timeout=STOP_SECONDS)
        deadline = time.monotonic() + GONE_SECONDS
        while reasons := why_not_stopped(step.ssh.observe(step.profile)):
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{step.profile.unit} on {step.node.name} was stopped, and yet " + "; ".join(reasons) + ".",
                    expected="no process of the unit, no listener and no connection on the port.",
                    safe="the node is out of rotation; the other nodes serve; nothing was switched.",
                    next_step="end what is named on the node by its pid, then clear this task.",
                )
            time.sleep(POLL_SECONDS)
        return record("stopped: no process, no listener, no connection", changed=True)


class SwitchReleaseOperator(NodeOperator):
    """Point ``current`` at the staged release of a stopped node. Binaries and configuration change in one rename."""

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        if view.current == step.release:
            return record(f"is switched to {step.release} already", changed=False)
        reasons = why_not_stopped(view)
        if step.release not in view.complete_releases:
            reasons.append(f"{step.release} is not staged")
        if reasons:
            raise PrecheckError(
                f"{step.node.name} cannot be switched: " + "; ".join(reasons) + ".",
                expected="a stopped service and a complete tree of the new release.",
                safe="the symlink was not changed.",
                next_step="clear the step that is missing (stage_release or stop) with this one.",
            )
        step.ssh.script(SWITCH, step.profile.current, f"releases/{step.release}")
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

    Refuses while the database has not been expanded and migrated for it.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        proven = not why_not_proven(view, step.release)
        if proven and is_in(step.node.server_name, step.balancers.names, step.balancers.views()):
            return record(f"runs {step.release} and is in rotation: passed over", changed=False)
        if not proven:
            _refuse_too_early(step, context)
            if view.current != step.release:
                raise PrecheckError(
                    f"{step.node.name} is switched to {view.current}.",
                    expected=f"`current` to name {step.release}.",
                    safe="the service was not started; the node is out of rotation.",
                    next_step="clear switch_release of this node.",
                )
        _let_check(step)
        if proven:
            return record(f"runs {step.release} already; the balancers check it anew", changed=False)
        step.ssh.must_run(["systemctl", "reset-failed", step.profile.unit], sudo="root")
        step.ssh.must_run(["systemctl", "start", step.profile.unit], sudo="root")
        return record(f"started on {step.release}", changed=True)


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
