"""A node answers its health check well and every real request with 500: the database lets its Glance in no more."""

from __future__ import annotations

import http.client
from contextlib import suppress

from include.lab import cgroups, database
from include.lab.errors import LabError
from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import DATABASE_SERVICE_USER, SERVICE_PORT, LabSettings, Node
from include.lab.waiting import until

SECONDS = 20.0
ENOUGH = 6
"""So many answers in a row are of every worker of the node, as good as surely."""


def _account(node: Node) -> str:
    # MariaDB takes the account whose host is given most closely, so this one is before glance@'%'.
    return f"'{DATABASE_SERVICE_USER}'@'{node.address}'"


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    node = injection.node_of(settings)
    known = f"SELECT 1 FROM mysql.global_priv WHERE User = '{DATABASE_SERVICE_USER}' AND Host = '{node.address}'"  # noqa: S608
    return database.answers() and bool(database.query(known))


def _inject(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    database.query(f"CREATE USER IF NOT EXISTS {_account(node)} ACCOUNT LOCK")
    until(lambda: _denied(node), f"{node.name} to answer with errors", seconds=SECONDS)


def _denied(node: Node) -> bool:
    sessions = database.query(f"SELECT ID FROM information_schema.PROCESSLIST WHERE HOST LIKE '{node.address}:%'")  # noqa: S608
    for session in sessions:
        with suppress(LabError):  # it has ended meanwhile
            database.query(f"KILL {int(session)}")
    return all(_status(node) >= 500 for _ in range(ENOUGH))


def _status(node: Node) -> int:
    """The status of one real request to the node itself; 0 where it does not answer."""
    connection = http.client.HTTPConnection(node.address, SERVICE_PORT, timeout=5)
    try:
        connection.request("GET", "/v2/images?limit=1", headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _lift(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    database.query(f"DROP USER IF EXISTS {_account(node)}")
    if cgroups.alive(node.machine) and _status(node):
        until(lambda: all(_status(node) == 200 for _ in range(ENOUGH)), f"{node.name} to answer well", seconds=SECONDS)


FAULT = Fault(
    name="error-responses",
    does="The node, which must serve, answers /healthcheck with 200 and real requests with 500: the database lets "
    "its Glance in no more. Phases of the database cannot run on it either.",
    forms=(frozenset({"node"}),),
    check=checks.node_runs,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
