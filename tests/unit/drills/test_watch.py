"""What the samples of two balancers say about who was out at one time."""

from __future__ import annotations

from rolling_upgrade.decisions.rotation import Rotation
from tests.drills.watch import Watch

IN, DRAINING, MAINTENANCE, DOWN = Rotation.IN, Rotation.DRAINING, Rotation.MAINTENANCE, Rotation.DOWN


def test_one_node_out_on_each_balancer_is_two_at_one_time() -> None:
    watch = Watch([(1, "lb1", {"node1": DRAINING, "node2": IN}), (1.1, "lb2", {"node1": IN, "node2": MAINTENANCE})])
    assert max(map(len, watch.taken_out_together())) == 2


def test_a_node_that_is_down_was_not_taken_out() -> None:
    watch = Watch([(1, "lb1", {"node1": DRAINING, "node2": DOWN})])
    assert watch.taken_out_together() == {frozenset({"node1"})}


def test_a_silent_balancer_says_nothing_and_hides_nothing() -> None:
    watch = Watch(
        [(1, "lb1", {"node1": DRAINING, "node2": IN}), (2, "lb1", None), (3, "lb2", {"node1": IN, "node2": DRAINING})]
    )
    assert watch.taken_out_together() == {frozenset({"node1"}), frozenset(), frozenset({"node2"})}
