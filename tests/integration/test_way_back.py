"""A run that goes back takes no node away from a schema that only the new release can use."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.contract_mark import forget_contract, mark_contract
from tests.integration.parts.fleets import NEW, OLD
from tests.integration.parts.mariadb import MariaDB
from tests.integration.parts.services import service
from tests.integration.parts.site import Site

pytestmark = pytest.mark.integration

IN, OUT, DRAINING = Rotation.IN, Rotation.MAINTENANCE, Rotation.DRAINING
EXPANDED, CONTRACTED = ("one_contract", "two_expand"), ("two_contract", "two_expand")


@pytest.fixture
def upgraded(site: Site, database: MariaDB, small_catalogue: Catalogue) -> Site:
    """A fleet on the new release, with an expanded schema."""
    database.at(*EXPANDED)
    forget_contract(site.fleet.database)
    return site


def test_a_node_leaves_to_go_back_while_the_schema_serves_the_release_before(upgraded: Site) -> None:
    with service(upgraded.root, f"releases/{NEW}", upgraded.profile.port):
        assert upgraded.take_out(back=True)["changed"] is True
    assert upgraded.rotation() == [DRAINING, DRAINING]


@pytest.mark.parametrize("step", ["first", "again"])
def test_no_node_leaves_to_go_back_after_contract(upgraded: Site, database: MariaDB, step: str) -> None:
    if step == "again":
        upgraded.take_out(back=True)
    before = upgraded.rotation()
    database.at(*CONTRACTED)

    with (
        service(upgraded.root, f"releases/{NEW}", upgraded.profile.port),
        pytest.raises(PrecheckError, match=rf"two_contract, two_expand, and contract has run: {OLD} cannot") as caught,
    ):
        upgraded.take_out(back=True)

    assert "the way back is the backup" in caught.value.next_step
    assert upgraded.rotation() == before


def test_no_node_leaves_to_go_back_when_contract_was_begun_and_cut_off(upgraded: Site) -> None:
    mark_contract(upgraded.fleet.database, NEW)

    with (
        service(upgraded.root, f"releases/{NEW}", upgraded.profile.port),
        pytest.raises(PrecheckError, match=rf"contract to {NEW} has begun: {OLD} cannot use it"),
    ):
        upgraded.take_out(back=True)

    assert upgraded.rotation() == [IN, IN]


def test_a_node_that_is_back_is_passed_over_whatever_the_schema_is(upgraded: Site, database: MariaDB) -> None:
    database.at(*CONTRACTED)
    with service(upgraded.root, f"releases/{OLD}", upgraded.profile.port):
        assert upgraded.take_out(back=True)["passed_over"] is True


def test_the_release_before_is_not_started_after_contract(upgraded: Site, database: MariaDB) -> None:
    database.at(*CONTRACTED)
    upgraded.ssh.says("inactive", "dead", 0)
    upgraded.servers["node1"].healthy = False
    upgraded.set_everywhere("node1", Admin.MAINT)

    with pytest.raises(PrecheckError, match="contract has run") as caught:
        upgraded.start(back=True)

    assert "was not started" in caught.value.safe
    assert upgraded.ssh.told == []
    assert upgraded.rotation() == [OUT, OUT]
