"""Bring the new release to a node beside the old one, with its configuration, while the node serves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.database import service_login
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.services.configuration import render

UPLOAD = 'mktemp -d "/var/tmp/release.XXXXXX"'
# Unpacked under a name that no one uses, marked complete, then renamed: a tree is whole or it is not there.
UNPACK = """
archive=$1; sum=$2; tree=$3; version=$4
printf '%s  %s\\n' "$sum" "$archive" | sha256sum --check --quiet
partial=$(mktemp -d "$(dirname "$tree")/.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT
tar -xzf "$archive" -C "$partial" --no-same-owner
test -d "$partial/$version"
chmod 755 "$partial/$version"
touch "$partial/$version/.complete"
rm -rf "$tree"
mv -T "$partial/$version" "$tree"
"""
CONFIGURATION_SUM = 'test -f "$1" && sha256sum "$1" | cut -d" " -f1 || true'


class StageReleaseOperator(NodeOperator):
    """Precheck: the tree is complete and its configuration is right. Apply: ship, unpack, render. Verify: both.

    Never touches the release that the node runs.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        view = step.ssh.observe(step.profile)
        if view.current == step.release:
            return record(f"{step.release} is what the node is switched to; left alone", changed=False)
        did = []
        if step.release not in view.complete_releases:
            _ship(step)
            did.append(f"brought {step.release} beside {view.current}")
        if _configure(step):
            did.append("rendered its configuration")
        if step.release not in step.ssh.observe(step.profile).complete_releases:
            raise VerifyError(
                f"{step.profile.tree(step.release)} on {step.node.name} is not complete after unpacking.",
                expected="a complete tree of the release.",
                safe="the node serves the old release; the new one is not in use.",
                next_step="look at the disk of the node, then clear this task.",
            )
        return record(", ".join(did) or f"{step.release} was staged already", changed=bool(did))


def _ship(step: NodeStep) -> None:
    archive = Path(step.fleet.releases.archives) / step.profile.archive(step.release)
    expected = Path(f"{archive}.sha256").read_text(encoding="ascii").split()[0]
    folder = step.ssh.script(UPLOAD, sudo=None).strip()
    try:
        remote = f"{folder}/{archive.name}"
        step.ssh.upload(archive, remote)
        step.ssh.script(UNPACK, remote, expected, step.profile.tree(step.release), step.release, timeout=300)
    finally:
        step.ssh.run(["rm", "-rf", folder])


def _configure(step: NodeStep) -> bool:
    """Write the configuration where it is not what the templates give; True when it was written."""
    text = render(
        step.fleet,
        step.node,
        step.release,
        service_login(step.fleet.database),
        service_port=step.profile.port,
    ).encode()
    path = step.profile.configuration_file(step.release)
    there = step.ssh.script(CONFIGURATION_SUM, path).strip()
    if there == hashlib.sha256(text).hexdigest():
        return False
    step.ssh.write(path, text, owner="root", group=step.profile.group, mode="0640")
    return True
