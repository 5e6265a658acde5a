"""What a node runs and is configured for that matters before the schema changes. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

from rolling_upgrade.decisions.proof import NodeView, proven_release
from rolling_upgrade.decisions.schema_checks import NodeFacts
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import AT_WORK
from rolling_upgrade.services.profile import ServiceProfile

# Only the lines that are asked for leave the node: a configuration holds passwords.
OPTION_LINES = 'pattern=$1; shift; for file; do test ! -e "$file" || grep -Ehi "$pattern" "$file" || test $? = 1; done'


def read_nodes(
    fleet: Fleet, profile: ServiceProfile, target: str, *, may_be_silent: Collection[str] = ()
) -> tuple[NodeFacts, ...]:
    """Every node of the fleet, asked one after the other; of one that may be silent, and is, nothing is said.

    Raises UnreachableError, VerifyError.
    """
    facts = []
    for node in fleet.nodes:
        try:
            facts.append(_read(node, profile, target))
        except UnreachableError:
            if node.name not in may_be_silent:
                raise
    return tuple(facts)


def _read(node: Node, profile: ServiceProfile, target: str) -> NodeFacts:
    with NodeHook.from_connection(node).connected() as ssh:
        view = ssh.observe(profile)
        return NodeFacts(
            name=node.name,
            release=proven_release(view),
            options=_options(ssh, profile, {target, view.current}),
            programs=(*_processes(view, profile), *_units(ssh, profile)),
        )


def _options(ssh: NodeHook, profile: ServiceProfile, releases: set[str | None]) -> tuple[str, ...]:
    """Removed options that are set: in the configuration of the release that runs, and in that of the new one."""
    removed = {option.name.lower(): option for option in profile.removed_options}
    if not removed:
        return ()
    names = "|".join(re.escape(name) for name in removed)
    files = [profile.configuration_file(release) for release in sorted(filter(None, releases))]
    found = []
    for line in ssh.script(OPTION_LINES, rf"^[[:space:]]*({names})[[:space:]]*[=:]", *files).splitlines():
        name, value = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
        values = removed[name.lower()].values
        if values is None or value.lower() in values:
            found.append(f"{name} = {value}")
    return tuple(dict.fromkeys(found))


def _processes(view: NodeView, profile: ServiceProfile) -> list[str]:
    """Processes of removed programs: themselves, or as the script of an interpreter."""
    return [
        f"{program} (pid {process.pid})"
        for process in view.processes
        for program in profile.removed_programs
        if program in {word.rpartition("/")[2] for word in process.command.split()[:3]}
    ]


def _units(ssh: NodeHook, profile: ServiceProfile) -> list[str]:
    """Units of removed programs that are at work."""
    names = [f"{program}.service" for program in profile.removed_programs]
    if not names:
        return []
    shown = ssh.must_run(["systemctl", "list-units", f"--state={AT_WORK}", "--plain", "--no-legend", *names])
    at_work = {line.split()[0] for line in shown.splitlines() if line.strip()}
    return [name for name in names if name in at_work]
