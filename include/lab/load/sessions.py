"""Which node serves a client's connection, asked from the balancer.

A download names its node in the head of the answer, at its beginning. An upload is answered at its end, so
while it runs, and if it is cut, only the balancer knows where it went.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from include.lab.load.plan import Entrance
from include.lab.load.progress import Transfer

_SESSION = re.compile(r"^0x\S+: .*?\bsrc=(?P<source>\S+):(?P<port>\d+) .*?\bsrv=(?P<server>\S+)")
_NO_SERVER = "<none>"


def parse_sessions(answer: str) -> dict[int, str]:
    """The server by the client's port, from HAProxy's ``show sess``."""
    servers = {}
    for line in answer.splitlines():
        match = _SESSION.match(line)
        if match and match["server"] != _NO_SERVER:
            servers[int(match["port"])] = match["server"]
    return servers


def ask_sessions(entrance: Entrance, timeout: float = 1.0) -> dict[int, str]:
    """Ask one balancer. Raises OSError where it does not answer within ``timeout`` seconds."""
    with socket.create_connection((entrance.address, entrance.admin_port), timeout) as runtime:
        runtime.sendall(b"show sess\n")
        answer = b"".join(iter(lambda: runtime.recv(65_536), b""))
    return parse_sessions(answer.decode("utf-8", "replace"))


def name_servers(transfers: Iterable[Transfer]) -> None:
    """Fill in the server of transfers that have none yet, where their balancer knows it."""
    waiting = [transfer for transfer in transfers if transfer.server is None]
    for entrance in {transfer.entrance for transfer in waiting}:
        try:
            servers = ask_sessions(entrance)
        except OSError:
            # The load must not depend on the runtime API: the server stays unknown for now.
            continue
        for transfer in waiting:
            if transfer.entrance == entrance:
                transfer.server = servers.get(transfer.local_port)
