"""What must be so before a fault is injected. A refusal changes nothing, and undoes nothing."""

from __future__ import annotations

from include.lab import nodes
from include.lab.errors import LabError
from include.lab.faults.fault import Injection
from include.lab.settings import LabSettings


def node_runs(settings: LabSettings, injection: Injection) -> None:
    """Raises LabError where the node has no power."""
    node = injection.node_of(settings)
    if not nodes.running(node):
        raise LabError(
            f"{node.name} does not run.",
            expected="a running node.",
            safe="nothing was changed.",
            next_step="`./lab fault lift node-power-off`, or `./lab up`.",
        )


def release_is_on_node(settings: LabSettings, injection: Injection) -> None:
    """Raises LabError where the release is not staged on the node with its configuration, or the node does not run."""
    node_runs(settings, injection)
    node, tree = injection.node_of(settings), f"/opt/glance/releases/{injection.version()}"
    for file in (".complete", "etc/glance/glance-api.conf"):
        if nodes.inside(node, "test", "-e", f"{tree}/{file}", check=False).returncode != 0:
            raise LabError(
                f"release {injection.version()} is not staged on {node.name}: there is no {tree}/{file}.",
                expected="a release that is installed or staged there.",
                safe="nothing was changed.",
                next_step="name another release, or stage this one.",
            )
