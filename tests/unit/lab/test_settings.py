"""The lab's names, addresses and limits."""

from __future__ import annotations

import pytest

from include.lab import settings


def test_the_default_is_three_nodes_in_the_usual_places() -> None:
    found = settings.from_environment({})
    assert [(node.name, node.address) for node in found.nodes] == [
        ("node1", "198.18.26.11"),
        ("node2", "198.18.26.12"),
        ("node3", "198.18.26.13"),
    ]
    assert str(found.archives) == "/var/cache/glance-lab/releases"
    assert str(found.backups) == "/var/lib/glance-lab/backups"


@pytest.mark.parametrize("count", ["1", "8"])
def test_one_to_eight_nodes_are_allowed(count: str) -> None:
    assert len(settings.from_environment({"GLANCE_LAB_NODES": count}).nodes) == int(count)


@pytest.mark.parametrize("count", ["0", "9", "-1", "three", "", "3.0", "1e1"])
def test_another_number_is_refused_and_named(count: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number from 1 to 8. Nothing was changed") as refused:
        settings.from_environment({"GLANCE_LAB_NODES": count})
    assert repr(count) in str(refused.value)


def test_no_port_or_address_is_used_twice() -> None:
    ports = [port for balancer in settings.BALANCERS for port in (balancer.frontend_port, balancer.admin_port)]
    ports += [settings.DATABASE_PORT, settings.AIRFLOW_PORT]
    assert len(set(ports)) == len(ports)
    nodes = settings.from_environment({"GLANCE_LAB_NODES": "8"}).nodes
    addresses = [settings.HOST_ADDRESS, *(node.address for node in nodes)]
    assert len(set(addresses)) == len(addresses)


def test_names_of_links_fit_the_kernel() -> None:
    from include.lab import network

    nodes = settings.from_environment({"GLANCE_LAB_NODES": "8"}).nodes
    assert all(len(name) <= 15 for name in (settings.BRIDGE, *(network.link(node) for node in nodes)))
