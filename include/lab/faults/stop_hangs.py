"""Glance does not stop when it is asked to: ``systemctl stop`` runs into its timeout."""

from __future__ import annotations

from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.nodes import UNIT, inside, leader
from include.lab.settings import LabSettings

DROP_IN = f"/etc/systemd/system/{UNIT}.d/lab-fault-stop-hangs.conf"
# A signal that changes nothing, in place of SIGTERM: as a process that is deaf to it, without a restart.
_INJECT = """
mkdir -p "$(dirname "$1")"
printf '[Service]\\nKillSignal=SIGCONT\\n%s' "${2:+TimeoutStopSec=$2
}" > "$1.new"
mv "$1.new" "$1"
systemctl daemon-reload
test "$(systemctl show -p KillSignal --value "$3")" = 18
"""
# A stop under way gets what it was denied; systemd would look at the new setting only at the next one.
_LIFT = """
rm -f "$1" "$1.new"
rmdir --ignore-fail-on-non-empty "$(dirname "$1")" 2> /dev/null || true
systemctl daemon-reload
test "$(systemctl show -p KillSignal --value "$2")" = 15
case $(systemctl show -p ActiveState --value "$2") in
    deactivating) systemctl kill --signal=SIGTERM "$2" ;;
esac
"""


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    node = injection.node_of(settings)
    return leader(node) is not None and inside(node, "test", "-f", DROP_IN, check=False).returncode == 0


def _inject(settings: LabSettings, injection: Injection) -> None:
    seconds = "" if injection.seconds is None else str(injection.seconds)
    inside(injection.node_of(settings), "sh", "-euc", _INJECT, "inject", DROP_IN, seconds, UNIT)


def _lift(settings: LabSettings, injection: Injection) -> None:
    inside(injection.node_of(settings), "sh", "-euc", _LIFT, "lift", DROP_IN, UNIT)


FAULT = Fault(
    name="stop-hangs",
    does="Glance on the node is deaf to SIGTERM: a stop lasts until its timeout (--seconds, else systemd's 90 s), at "
    "which systemd kills. Lifted, a stop under way goes on.",
    forms=(frozenset({"node"}),),
    may=frozenset({"seconds"}),
    check=checks.node_runs,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
