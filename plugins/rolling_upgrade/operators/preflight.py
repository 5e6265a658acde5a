"""Everything that can be found wrong with one node before anything is touched."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rolling_upgrade.decisions.rotation import Rotation, unknown_to
from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.keystone import KeystoneHook
from rolling_upgrade.operators.step import NodeOperator, NodeStep

SPACE_FACTOR = 8
"""A release needs at most this many times the size of its archive on the node."""


class PreflightOperator(NodeOperator):
    """Asks the node over SSH and each balancer about it; finds the release's archive; gets a token of Keystone.

    Changes nothing.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        wrong = [*_about_balancers(step), *_about_archive(step), *_about_node(step), *_about_credentials(step)]
        if wrong:
            raise PrecheckError(
                f"{step.node.name} is not ready for an upgrade: " + "; ".join(wrong) + ".",
                expected="a node that can be drained, asked and given the new release.",
                safe="nothing was touched; the fleet serves as before.",
                next_step="mend what is named, then clear this task.",
            )
        return record("ready: node, balancers and archive answer as they must", changed=False)


def _about_balancers(step: NodeStep) -> list[str]:
    views = step.balancers.views()
    server = step.node.server_name
    wrong = [f"balancer {name} has no server {server}" for name in unknown_to(server, step.balancers.names, views)]
    wrong.extend(
        f"balancer {view.balancer} does not health-check {server}, so it could not see whether it is well"
        for view in views
        if view.server == server and view.rotation is Rotation.UNCHECKED
    )
    for hook in step.balancers.hooks:
        refusal = hook.refusal_of_admin()
        if refusal:
            wrong.append(f"the runtime socket of balancer {hook.name} is not of level admin ({refusal})")
    return wrong


def _about_archive(step: NodeStep) -> list[str]:
    archive = Path(step.fleet.releases.archives) / step.profile.archive(step.release)
    sidecar = Path(f"{archive}.sha256")
    if not archive.is_file() or not sidecar.is_file():
        return [f"there is no {archive.name} with its .sha256 in {archive.parent}"]
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = next(iter(sidecar.read_text(encoding="ascii").split()), "nothing")
    return [] if found == expected else [f"{archive.name} has checksum {found}, its .sha256 says {expected}"]


def _about_node(step: NodeStep) -> list[str]:
    wrong = []
    load_state = step.ssh.must_run(["systemctl", "show", "-p", "LoadState", "--value", step.profile.unit]).strip()
    if load_state != "loaded":
        wrong.append(f"unit {step.profile.unit} is {load_state}")
    if step.ssh.run(["true"], sudo="root").status != 0:
        wrong.append("sudo is not possible without a password")
    archive = Path(step.fleet.releases.archives) / step.profile.archive(step.release)
    needed = archive.stat().st_size * SPACE_FACTOR if archive.is_file() else 0
    free = int(step.ssh.must_run(["df", "--output=avail", "-B1", step.profile.root]).split()[-1])
    if free < needed and step.release not in step.ssh.observe(step.profile).complete_releases:
        wrong.append(f"{step.profile.root} has {free >> 20} MiB free, {needed >> 20} MiB are needed")
    return wrong


def _about_credentials(step: NodeStep) -> list[str]:
    """Only the first node's: a wrong password, sent for every node at once, could get the account locked."""
    health = step.fleet.health
    wanted = step.profile.image_api and health.image and step.node.name == step.plan.nodes[0]
    if not health.credentials or not wanted:
        return []
    try:
        KeystoneHook(health.credentials).token()
    except (PrecheckError, UnreachableError) as error:
        return [error.found.removesuffix(".")]
    return []
