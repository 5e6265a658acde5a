from __future__ import annotations

import configparser
import json
import stat
from pathlib import Path

import pytest

from include.demo import airflow_settings
from include.demo.airflow_settings import AirflowPlace


@pytest.fixture
def place(tmp_path: Path) -> AirflowPlace:
    return AirflowPlace(
        home=tmp_path / "100%" / "home",
        project=tmp_path / "project",
        port=18080,
        dags=tmp_path / "dags",
        fleets=tmp_path / "fleets",
    )


def test_only_the_owner_can_read_what_is_secret(place: AirflowPlace) -> None:
    airflow_settings.write_home(place, {})
    assert stat.S_IMODE(place.home.stat().st_mode) == 0o700
    for name in ("airflow.cfg", "keys.json", "passwords.json", "environment.json"):
        assert stat.S_IMODE((place.home / name).stat().st_mode) == 0o600


def test_keys_are_kept_and_differ_between_homes(place: AirflowPlace, tmp_path: Path) -> None:
    keys = airflow_settings.write_home(place, {})
    assert airflow_settings.write_home(place, {}) == keys
    assert airflow_settings.load_or_make_keys(tmp_path) != keys
    assert json.loads(place.passwords.read_text()) == {"admin": keys.password}


def test_everything_stays_on_loopback(place: AirflowPlace) -> None:
    keys = airflow_settings.write_home(place, {})
    values = airflow_settings.options(place, keys)
    assert values["api"]["host"] == "127.0.0.1"
    assert values["core"]["execution_api_server_url"].startswith("http://127.0.0.1:18080/")


def test_airflow_reads_back_what_was_meant(place: AirflowPlace) -> None:
    keys = airflow_settings.write_home(place, {})
    parser = configparser.ConfigParser()
    parser.read_string((place.home / "airflow.cfg").read_text())
    assert {s: dict(parser[s]) for s in parser.sections()} == airflow_settings.options(place, keys)


def test_the_environment_is_free_of_other_airflows_and_of_secrets(place: AirflowPlace) -> None:
    inherited = {"PATH": "/bin", "AIRFLOW__CORE__PARALLELISM": "1", "PYTHONPATH": "/elsewhere", "HOME": "/root"}
    keys = airflow_settings.write_home(place, inherited)
    environment = json.loads((place.home / "environment.json").read_text())
    assert "AIRFLOW__CORE__PARALLELISM" not in environment
    assert environment["PATH"] == "/bin"
    assert environment["PYTHONPATH"] == f"{place.project}:{place.project}/plugins"
    assert not {keys.password, keys.jwt, keys.fernet, keys.session} & set(environment.values())
