"""Preflight names each thing that is wrong with a node, all in one message, and changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.fleet.inventory import load
from rolling_upgrade.operators.preflight import PreflightOperator
from tests.integration.parts.fleets import ARCHIVE, NAME, context
from tests.integration.parts.site import Site

pytestmark = pytest.mark.integration


def preflight(site: Site) -> dict[str, Any]:
    return PreflightOperator(task_id="preflight", fleet=NAME, node="node1").execute(context(site.fleet))


def found(site: Site) -> str:
    """What preflight says is wrong with node1."""
    before = [(view.server, view.status) for lb in site.balancers for view in lb.hook().servers()]
    with pytest.raises(PrecheckError) as caught:
        preflight(site)
    assert [(view.server, view.status) for lb in site.balancers for view in lb.hook().servers()] == before
    assert site.ssh.told == []
    prefix = "node1 is not ready for an upgrade: "
    assert caught.value.found.startswith(prefix)
    return caught.value.found.removeprefix(prefix)


def test_a_node_that_is_as_it_must_be_is_ready(site: Site, releases: Path) -> None:
    record = preflight(site)

    assert (record["node"], record["changed"]) == ("node1", False)
    assert record["did"].startswith("ready")


def test_a_server_that_a_balancer_does_not_know(site: Site, releases: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleets" / f"{NAME}.yaml"
    content = yaml.safe_load(path.read_text())
    content["nodes"][0]["server"] = "elsewhere"
    path.write_text(yaml.safe_dump(content))
    site.fleet = load(path)

    assert found(site) == "balancer lb1 has no server elsewhere; balancer lb2 has no server elsewhere."


def test_a_server_without_a_health_check(site: Site, releases: Path) -> None:
    site.balancers[1].without_checks("node1")
    site.balancers[1].until_checked("node2", "node3")

    assert found(site) == ("balancer lb2 does not health-check node1, so it could not see whether it is well.")


def test_a_socket_that_may_only_look(site: Site, releases: Path) -> None:
    site.reach_over(site.balancers[0], "operator")

    said = found(site)

    assert said.startswith("the runtime socket of balancer lb1 is not of level admin (Permission denied")
    assert "lb2" not in said


@pytest.mark.parametrize("missing", [ARCHIVE, f"{ARCHIVE}.sha256"])
def test_an_archive_or_its_checksum_is_missing(site: Site, releases: Path, missing: str) -> None:
    (releases / missing).unlink()

    assert found(site) == f"there is no {ARCHIVE} with its .sha256 in {releases}."


def test_an_archive_that_is_not_what_its_checksum_says(site: Site, releases: Path) -> None:
    expected = hashlib.sha256(b"an archive").hexdigest()
    (releases / ARCHIVE).write_bytes(b"an archiv")

    actual = hashlib.sha256(b"an archiv").hexdigest()
    assert found(site) == f"{ARCHIVE} has checksum {actual}, its .sha256 says {expected}."


def test_a_checksum_file_that_holds_nothing(site: Site, releases: Path) -> None:
    (releases / f"{ARCHIVE}.sha256").write_text("")

    assert found(site).endswith(", its .sha256 says nothing.")


def test_a_unit_that_systemd_does_not_know(site: Site, releases: Path) -> None:
    site.ssh.loaded("not-found")

    assert found(site) == "unit small.service is not-found."


def test_everything_wrong_is_said_at_once(site: Site, releases: Path) -> None:
    site.reach_over(site.balancers[1], "user")
    (releases / ARCHIVE).unlink()
    site.ssh.loaded("masked")

    said = found(site)

    assert [part.split()[0] for part in said.split("; ")] == ["the", "there", "unit"]


def test_a_node_or_a_balancer_that_does_not_answer_is_named(site: Site, releases: Path) -> None:
    site.balancers[0].stop()
    with pytest.raises(UnreachableError, match="balancer lb1 cannot be asked"):
        preflight(site)

    site.cut_off("node1")
    with pytest.raises(UnreachableError, match="node node1"):
        preflight(site)
