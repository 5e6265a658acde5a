from __future__ import annotations

import pytest

from include.lab.errors import LabError
from include.lab.faults import registry
from include.lab.faults.fault import Injection


def test_every_fault_has_its_own_name_and_is_told_in_the_help() -> None:
    names = [fault.name for fault in registry.ALL]
    assert len(set(names)) == len(names) == 13
    for name in names:
        assert f"{name} (" in registry.told()
        assert registry.fault(name).name == name


def test_what_is_no_fault_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(LabError, match=r"'flood' is no fault(.|\n)*node-freeze"):
        registry.fault("flood")


@pytest.mark.parametrize(
    "injection",
    [
        Injection("node-freeze", node="node1"),
        Injection("balancer-restart", balancer="lb1"),
        Injection("crash-loop", node="node1", release="28.1.0"),
        Injection("crash-loop", release="28.1.0", archive=True),
        Injection("stop-hangs", node="node1", seconds=5),
        Injection("slow-transfer"),
        Injection("slow-transfer", node="node1", balancer="lb2", seconds=60, upload=True),
        Injection("wrong-server-name", node="node1", balancer="lb2"),
    ],
    ids=str,
)
def test_options_that_fit(injection: Injection) -> None:
    registry.check_options(injection)


@pytest.mark.parametrize(
    "injection",
    [
        Injection("node-freeze"),
        Injection("node-freeze", node="node1", balancer="lb1"),
        Injection("node-freeze", node="node1", seconds=5),
        Injection("crash-loop", node="node1"),
        Injection("crash-loop", node="node1", release="28.1.0", archive=True),
        Injection("corrupt-archive"),
        Injection("slow-transfer", release="28.1.0"),
        Injection("wrong-server-name", balancer="lb2"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(injection: Injection) -> None:
    with pytest.raises(LabError) as refused:
        registry.check_options(injection)
    assert refused.value.safe == "nothing was changed."


def test_what_others_need_is_lifted_first() -> None:
    given = [
        Injection("wrong-server-name", node="node1", balancer="lb1"),
        Injection("full-disk", node="node1"),
        Injection("balancer-unreachable", balancer="lb1"),
        Injection("node-power-off", node="node1"),
    ]
    order = [injection.fault for injection in registry.in_order(given)]
    assert order == ["node-power-off", "balancer-unreachable", "full-disk", "wrong-server-name"]


def test_two_injections_at_one_place_are_one() -> None:
    one = Injection("stop-hangs", node="node1", seconds=5)
    assert one.place == Injection("stop-hangs", node="node1", seconds=90, done=True).place
    assert one.place != Injection("stop-hangs", node="node2", seconds=5).place
    assert Injection("x", release="1", archive=True).place != Injection("x", release="1").place
