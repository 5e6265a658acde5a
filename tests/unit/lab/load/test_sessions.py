"""The balancer's list of sessions names the node of each client connection."""

from __future__ import annotations

from include.lab.load.plan import Entrance
from include.lab.load.progress import Progress
from include.lab.load.sessions import name_servers, parse_sessions

# As HAProxy 2.6 prints it.
ANSWER = """\
0x5616293abd50: proto=tcpv4 src=127.0.0.1:47178 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s calls=1
0x5616293ac120: proto=tcpv4 src=127.0.0.1:51234 fe=images be=glance_api srv=node2 ts=00 epoch=0 age=9s calls=301
0x5616293ac130: proto=tcpv4 src=127.0.0.1:51236 fe=images be=glance_api srv=node1 ts=00 epoch=0 age=9s calls=3

"""


def test_sessions_with_a_server_are_found_by_the_clients_port() -> None:
    assert parse_sessions(ANSWER) == {51234: "node2", 51236: "node1"}


def test_no_session_is_no_error() -> None:
    assert parse_sessions("") == {}


def test_a_balancer_that_does_not_answer_leaves_the_server_unknown() -> None:
    progress = Progress()
    with progress.transfer("upload", Entrance("lb1", "127.0.0.1", 1, admin_port=1), 51234):
        name_servers(progress.running())
        assert progress.counters()["running_transfers"] == {"unknown": {"upload": 1, "download": 0}}
    assert progress.counters()["running_transfers"] == {}
