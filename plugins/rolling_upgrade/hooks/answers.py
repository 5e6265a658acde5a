"""Does a node answer its users, asked on its own address?"""

from __future__ import annotations

import http.client

from rolling_upgrade.fleet.inventory import Node
from rolling_upgrade.services.profile import HttpProbe

PROBE_SECONDS = 10.0


def why_wrong(node: Node, port: int, probe: HttpProbe) -> str | None:
    """Why the node's answer to this probe is not correct, or None."""
    connection = http.client.HTTPConnection(node.address, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", probe.path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(65_536).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{probe.path} gives no answer ({error or type(error).__name__})"
    finally:
        connection.close()
    if response.status not in probe.statuses:
        return f"{probe.path} answers {response.status}"
    if response.status == http.client.OK and probe.contains not in body:
        return f"{probe.path} answers without {probe.contains!r}"
    return None
