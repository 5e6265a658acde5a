"""What is particular to Glance, and its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet import inventory
from rolling_upgrade.services.configuration import ServiceLogin, render
from rolling_upgrade.services.glance import GLANCE
from rolling_upgrade.services.registry import profile_of

FLEET = inventory.load(inventory.PROJECT_ROOT / "include" / "fleets" / "lab.yaml")
LOGIN = ServiceLogin("glance", "p@ss:w/rd'", "198.18.26.1", 13306, "glance")


def test_phases_use_the_new_releases_tool_by_its_full_path() -> None:
    assert GLANCE.phase_command("28.1.0", Phase.EXPAND) == [
        "/opt/glance/releases/28.1.0/bin/glance-manage",
        "--config-file",
        "/opt/glance/releases/28.1.0/etc/glance/glance-api.conf",
        "--config-file",
        "/opt/glance/releases/28.1.0/etc/glance/glance-api.conf.phase",
        "db",
        "expand",
    ]


def test_the_unit_of_a_phase_has_one_name_for_every_try() -> None:
    names = {GLANCE.phase_unit("28.1.0", phase) for phase in Phase}
    assert names == {f"glance-db-{word}-28.1.0.service" for word in ("expand", "migrate", "contract")}


def test_configuration_is_the_nodes_own_and_quotes_the_password() -> None:
    text = render(FLEET, FLEET.node("node2"), "28.1.0", LOGIN)
    assert "bind_host = 198.18.26.12" in text
    assert "mysql+pymysql://glance:p%40ss%3Aw%2Frd%27@198.18.26.1:13306/glance?charset=utf8" in text
    assert "{{" not in text


def test_a_template_that_needs_more_than_the_fleet_gives_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "glance"
    folder.mkdir()
    (folder / "glance-api.conf.j2").write_text("x = {{ values.not_there }}")
    with pytest.raises(RefusedError, match="not_there"):
        render(FLEET, FLEET.nodes[0], "28.1.0", LOGIN, templates=tmp_path)


def test_a_missing_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"glance-api\.conf\.j2"):
        render(FLEET, FLEET.nodes[0], "28.1.0", LOGIN, templates=tmp_path)


def test_a_login_never_shows_its_password() -> None:
    assert "p@ss" not in repr(LOGIN)


def test_an_unknown_service_is_refused() -> None:
    assert profile_of("glance") is GLANCE
    with pytest.raises(RefusedError, match="keystone"):
        profile_of("keystone")
