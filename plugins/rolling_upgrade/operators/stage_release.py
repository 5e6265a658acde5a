"""Bring the new release to a node beside the old one, with its configuration, while the node serves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.database import service_login
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.services.configuration import render, store_groups

# Only one run changes a fleet, so what lies there of another try is of one that was cut off.
UPLOAD = "rm -rf /var/tmp/rolling-upgrade.??????; mktemp -d /var/tmp/rolling-upgrade.XXXXXX"
# Unpacked under a name that no one uses, marked complete, then renamed: a tree is whole or it is not there.
UNPACK = """
archive=$1; sum=$2; tree=$3; version=$4
rm -rf "$(dirname "$tree")"/.partial.??????
printf '%s  %s\\n' "$sum" "$archive" | sha256sum --check --quiet
partial=$(mktemp -d "$(dirname "$tree")/.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT
tar -xzf "$archive" -C "$partial" --no-same-owner
test -d "$partial/$version"
chmod 755 "$partial/$version"
printf '%s\\n' "$sum" >"$partial/$version/.complete"
rm -rf "$tree"
mv -T "$partial/$version" "$tree"
"""
INTO_PLACE = 'if test -e "$2"; then cp -p "$2" "$2.previous"; fi; mv -T "$1" "$2"'
VALIDATE_SECONDS = 120.0
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
        expected = expected_sum(step)
        if step.release not in view.complete_releases or view.archives.get(step.release) not in (None, "", expected):
            _ship(step, expected)
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


def expected_sum(step: NodeStep) -> str:
    """The checksum of the release's archive, from the file beside it. Raises VerifyError when there is none."""
    sidecar = Path(f"{_archive(step)}.sha256")
    try:
        return sidecar.read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise VerifyError(
            f"the checksum of {step.release} cannot be read from {sidecar}: {error}.",
            expected="the archive's SHA-256 in it.",
            safe="nothing was brought to the node.",
            next_step="put the release's archive and checksum in place again, then clear this task.",
        ) from error


def _archive(step: NodeStep) -> Path:
    return Path(step.fleet.releases.archives) / step.profile.archive(step.release)


def _ship(step: NodeStep, expected: str) -> None:
    archive = _archive(step)
    folder = step.ssh.script("making a folder for the archive", UPLOAD, sudo=None).strip()
    try:
        remote = f"{folder}/{archive.name}"
        step.ssh.upload(archive, remote)
        step.ssh.script(
            "checking and unpacking the archive",
            UNPACK,
            remote,
            expected,
            step.profile.tree(step.release),
            step.release,
            timeout=300,
        )
    finally:
        step.ssh.run(["rm", "-rf", folder])


def _configure(step: NodeStep) -> bool:
    """Put the configuration in place where it is not what the templates give; True when it was.

    It gets its name only once the release's own validator knows every option in it; the one before it is kept.
    """
    text = render(
        step.fleet,
        step.node,
        step.release,
        service_login(step.fleet.database),
        service_port=step.profile.port,
    )
    path = step.profile.configuration_file(step.release)
    there = step.ssh.script("reading the checksum of the configuration", CONFIGURATION_SUM, path).strip()
    if there == hashlib.sha256(text.encode()).hexdigest():
        return False
    candidate = f"{path}.candidate"
    step.ssh.write(candidate, text.encode(), owner="root", group=step.profile.group, mode="0640")
    if step.profile.validator:
        _validate(step, candidate, store_groups(text))
    step.ssh.script("putting the configuration into place", INTO_PLACE, candidate, path)
    return True


def _validate(step: NodeStep, candidate: str, stores: list[str]) -> None:
    """Raises VerifyError with the options that the release does not know."""
    command = step.profile.validate_command(step.release, candidate, free_groups=stores)
    result = step.ssh.run(command, sudo=step.profile.user, timeout=VALIDATE_SECONDS)
    if result.status != 0:
        said = [
            line.removeprefix("ERROR:root:") for line in result.stderr.splitlines() if line.startswith("ERROR:root")
        ]
        raise VerifyError(
            f"the configuration rendered for {step.node.name} is not valid for {step.release}: "
            + ("; ".join(said) or result.stderr.strip()[-800:])
            + ".",
            expected=f"only options that {step.release} knows.",
            safe="the node serves the old release with its own configuration; the new one is not in use.",
            next_step=f"correct include/config/{step.fleet.config.templates}, then clear this task.",
        )
