"""One client's transfer through a balancer that goes on for so long that a drain cannot end."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from include.lab import cgroups
from include.lab.commands import spawn
from include.lab.errors import LabError
from include.lab.faults import trickle
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import BALANCERS, PROJECT_ROOT, LabSettings
from include.lab.waiting import until

SECONDS = 600
START_SECONDS = 60.0
FINISH_SECONDS = 20.0


def _group(injection: Injection) -> str:
    return f"fault-transfer-{injection.node or 'any'}-{injection.balancer or 'any'}"


def _plan(settings: LabSettings, injection: Injection) -> Path:
    return settings.state / "faults" / f"{_group(injection)}.json"


def _report(settings: LabSettings, injection: Injection) -> dict[str, Any]:
    """What the transfer last said of itself; empty before it has."""
    try:
        found: dict[str, Any] = json.loads(trickle.report_file(_plan(settings, injection)).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return cgroups.alive(_group(injection)) and _report(settings, injection).get("state") == trickle.RUNNING


def _inject(settings: LabSettings, injection: Injection) -> None:
    _end(injection)
    balancer = injection.balancer_of() if injection.balancer else BALANCERS[0]
    file = _plan(settings, injection)
    file.parent.mkdir(parents=True, exist_ok=True)
    trickle.report_file(file).unlink(missing_ok=True)
    plan = trickle.Plan(
        balancer=balancer.name,
        address=balancer.address,
        port=balancer.frontend_port,
        admin_port=balancer.admin_port,
        node=injection.node,
        seconds=injection.seconds or SECONDS,
        upload=injection.upload,
    )
    file.write_text(json.dumps(asdict(plan)) + "\n")
    log = settings.logs / f"{_group(injection)}.log"
    paths = f"PYTHONPATH={PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}"
    command = ["/usr/bin/env", paths, sys.executable, "-m", "include.lab.faults.trickle", str(file)]
    spawn(command, group=_group(injection), log=log)
    until(
        lambda: bool(_report(settings, injection)) and _report(settings, injection)["state"] != trickle.STARTING,
        f"a transfer on {injection.node or 'a node'} to begin (log: {log})",
        seconds=START_SECONDS,
    )
    found = _report(settings, injection)
    if found["state"] != trickle.RUNNING:
        raise LabError(
            f"the transfer did not begin: {found.get('error')}.",
            expected=f"{injection.node or 'a node'} in rotation on {balancer.name}.",
            next_step="`./lab status`.",
        )


def _lift(settings: LabSettings, injection: Injection) -> None:
    """Let it finish at full speed, so that the lifting cuts no request; end it where it cannot."""
    pid = _report(settings, injection).get("pid")
    if isinstance(pid, int) and pid in set(cgroups.processes(_group(injection))):
        os.kill(pid, signal.SIGTERM)
        try:
            until(lambda: not cgroups.alive(_group(injection)), "the end of the transfer", seconds=FINISH_SECONDS)
        except LabError:
            _end(injection)
    _end(injection)


def _end(injection: Injection) -> None:
    cgroups.kill(_group(injection))
    cgroups.remove(_group(injection))


def _detail(settings: LabSettings, injection: Injection) -> str:
    found = _report(settings, injection)
    if not found:
        return "nothing is known of it"
    words = f"{found['way']} through {found['balancer']} on {found['server']}: {found['state']}, "
    words += f"{found['bytes']} of {found['size']} bytes in {found['seconds']} s"
    return f"{words}, {found['error']}" if found.get("error") else words


FAULT = Fault(
    name="slow-transfer",
    does=f"One download, or upload (--upload), on the node or, without --node, any, that lasts --seconds "
    f"({SECONDS}). It is none of the load's operations. Lifted, it finishes at full speed.",
    forms=(frozenset({"node"}), frozenset()),
    may=frozenset({"node", "balancer", "seconds", "upload"}),
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
    outside=lambda _settings, injection: _end(injection),
    detail=_detail,
)
