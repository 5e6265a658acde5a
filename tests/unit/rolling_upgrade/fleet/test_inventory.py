"""Reading fleet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet import inventory

LAB = inventory.PROJECT_ROOT / "include" / "fleets" / "lab.yaml"


def written(folder: Path, **changes: Any) -> Path:
    data = yaml.safe_load(LAB.read_text())
    data.update(changes)
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_shipped_fleet_is_read() -> None:
    fleet = inventory.load(LAB)
    assert fleet.node_names == ("node1", "node2", "node3")
    assert fleet.node("node2").server_name == "node2"


def test_who_is_told_is_read_from_the_file_and_nobody_by_default(tmp_path: Path) -> None:
    mail = {"kind": "smtp", "connection": "ops_smtp", "to": ["ops@example.org"], "from_address": "air+flow@example.org"}
    fleet = inventory.load(written(tmp_path, alerts=[mail, {"kind": "webhook", "connection": "ops_webhook"}]))
    assert fleet.alerts == (
        inventory.SmtpAlert.model_validate(mail),
        inventory.WebhookAlert(kind="webhook", connection="ops_webhook"),
    )
    assert inventory.load(LAB).alerts == ()


def test_credentials_are_the_name_of_a_connection_and_none_by_default(tmp_path: Path) -> None:
    assert inventory.load(LAB).health.credentials is None
    named = inventory.load(written(tmp_path, health={"credentials": "ops_keystone"}))
    assert (named.health.image, named.health.credentials) == (True, "ops_keystone")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "lab; reboot"}, "lab; reboot"),
        ({"name": "lab\n"}, "name"),
        ({"nodes": []}, "nodes"),
        ({"nodes": [{"name": "a b", "address": "198.18.0.1", "ssh_connection": "x"}]}, "a b"),
        ({"nodes": [{"name": "a", "address": "$(id)", "ssh_connection": "x"}]}, "address"),
        ({"nodes": [{"name": "a", "address": "198.18.0.1", "ssh_connection": "x"}] * 2}, "more than once"),
        ({"password": "secret"}, "password"),
        ({"backup": {"directory": "relative"}}, "relative"),
        ({"backup": {"directory": "/b", "keep": 0}}, "backup.keep"),
        ({"backup": {"directory": "/b", "max_age_hours": 0}}, "backup.max_age_hours"),
        ({"backup": {"directory": "/b", "space_factor": -1}}, "backup.space_factor"),
        ({"backup": {"directory": "/b", "host": "a b"}}, "backup.host"),
        ({"backup": {"directory": "/b", "scratch_schema": "glance"}}, "backup.scratch_schema glance is in use"),
        ({"backup": {"directory": "/b", "scratch_schema": "rolling_upgrade"}}, "rolling_upgrade is in use"),
        ({"database": {"connection": "c", "service_connection": "s", "name": "g" * 55}}, "longer than 64 characters"),
        ({"defaults": {"min_in_rotation": 0}}, "min_in_rotation"),
        ({"health": {"credentials": "a secret?"}}, "health.credentials"),
        ({"alerts": [{"kind": "pager", "connection": "ops"}]}, "pager"),
        ({"alerts": [{"kind": "webhook"}]}, "connection"),
        ({"alerts": [{"kind": "webhook", "connection": "ops", "password": "secret"}]}, "password"),
        ({"alerts": [{"kind": "smtp", "connection": "ops", "to": [], "from_address": "a@b.org"}]}, "alerts.0.smtp.to"),
        ({"alerts": [{"kind": "smtp", "connection": "ops", "to": ["a@b.org"]}]}, "from_address"),
        (
            {
                "alerts": [
                    {"kind": "smtp", "connection": "ops", "to": ["a@b.org\nBcc: c@d.org"], "from_address": "a@b.org"}
                ]
            },
            "alerts.0.smtp.to.0",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(RefusedError) as refused:
        inventory.load(written(tmp_path, **changes))
    assert "fleet.yaml" in str(refused.value)
    assert word in str(refused.value)


def test_a_file_that_is_not_yaml_or_not_there_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("nodes: [")
    for path in (broken, tmp_path / "absent.yaml"):
        with pytest.raises(RefusedError, match=path.name):
            inventory.load(path)


def test_a_node_that_is_not_in_the_fleet_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="node9"):
        inventory.load(LAB).node("node9")


def test_fleets_are_found_by_name_in_the_chosen_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, name="other")
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path))
    assert inventory.load_named("other").name == "other"
    with pytest.raises(RefusedError, match="lab"):
        inventory.load_named("lab")


def test_a_wrong_file_hides_no_other_fleet_and_is_named_where_none_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, name="other")
    (tmp_path / "a-broken.yaml").write_text("nodes: [")
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path))
    assert inventory.load_named("other").name == "other"
    with pytest.raises(RefusedError, match=r"a-broken\.yaml"):
        inventory.load_named("lab")
