"""The lab's bridge, and for each node a network of its own that is complete before the node boots.

A node's network namespace is made here and handed to the machine with its address already set. So nothing has to
be configured inside, sshd can listen at once, and no network manager of the host takes an interest.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from include.lab.commands import run
from include.lab.settings import BRIDGE, HOST_ADDRESS, NETWORK, RUNTIME, Node

_NAMESPACES = RUNTIME / "netns"
_LINK_PREFIX = "glab-"
_INSIDE = "host0"


def namespace(node: Node) -> Path:
    """The file that holds the node's network namespace."""
    return _NAMESPACES / node.name


def link(node: Node) -> str:
    """The host's end of the node's cable."""
    return f"{_LINK_PREFIX}{node.name}"


def _prefix_length() -> int:
    return ipaddress.ip_network(NETWORK).prefixlen


def hardware_address(address: str) -> str:
    """A link's own address, which follows from its IPv4 address.

    A machine keeps it when it boots again. With a new one it would be out of reach until others, who remember the
    old one, have given that up: up to a minute.
    """
    return ":".join(["02", "00", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)])


def _links() -> list[str]:
    found = json.loads(run(["ip", "-j", "link", "show"]).stdout or "[]")
    return [entry["ifname"] for entry in found]


def ensure_bridge() -> None:
    """The bridge, up, with the host's address."""
    if BRIDGE not in _links():
        # Of itself it takes the least address among its ports', which changes as nodes come and go.
        run(["ip", "link", "add", BRIDGE, "address", hardware_address(HOST_ADDRESS), "type", "bridge"])
    run(["ip", "address", "replace", f"{HOST_ADDRESS}/{_prefix_length()}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])


def connect(node: Node) -> None:
    """A new network namespace for the node, with its address, on the bridge. What was there before goes."""
    disconnect(node)
    file = namespace(node)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    run(["unshare", f"--net={file}", "true"])
    run(["nsenter", f"--net={file}", "ip", "link", "set", "lo", "up"])
    _plug(node, file)


def reconnect(node: Node, leader: int) -> None:
    """Give a node that runs its cable back, if it is gone; ``leader`` is a process of the node."""
    if link(node) not in _links():
        _plug(node, Path(f"/proc/{leader}/ns/net"))
    run(["ip", "link", "set", link(node), "master", BRIDGE, "up"])  # a bridge made anew has lost its ports


def _plug(node: Node, network_namespace: Path) -> None:
    inside = ["nsenter", f"--net={network_namespace}", "ip"]
    peer = ["peer", "name", _INSIDE, "address", hardware_address(node.address), "netns", str(network_namespace)]
    run(["ip", "link", "add", link(node), "type", "veth", *peer])
    run(["ip", "link", "set", link(node), "master", BRIDGE, "up"])
    run([*inside, "address", "add", f"{node.address}/{_prefix_length()}", "dev", _INSIDE])
    run([*inside, "link", "set", _INSIDE, "up"])


def disconnect(node: Node) -> None:
    """Take away the node's cable and namespace, whatever is left of them."""
    if link(node) in _links():
        run(["ip", "link", "delete", link(node)])
    _drop(namespace(node))


def remove() -> None:
    """Take away every cable, namespace and the bridge, also those of an earlier, larger lab."""
    for name in _links():
        if name.startswith(_LINK_PREFIX):
            run(["ip", "link", "delete", name])
    if _NAMESPACES.is_dir():
        for file in _NAMESPACES.iterdir():
            _drop(file)
        _NAMESPACES.rmdir()
    if BRIDGE in _links():
        run(["ip", "link", "delete", BRIDGE])


def _drop(file: Path) -> None:
    while str(file) in _mounted():  # more than one where an earlier run was cut off
        run(["umount", file])
    file.unlink(missing_ok=True)


def _mounted() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def remains() -> list[str]:
    """Links and mounts of the lab's that still exist."""
    links = [name for name in _links() if name == BRIDGE or name.startswith(_LINK_PREFIX)]
    return links + sorted(mount for mount in _mounted() if mount.startswith(f"{RUNTIME}/"))
