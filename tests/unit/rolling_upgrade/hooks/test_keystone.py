"""Reading an Airflow connection to Keystone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from airflow.sdk import Connection

from include.lab.settings import PROJECT_ROOT
from rolling_upgrade.hooks.keystone import Login, Token, login_of

SECRET = "s3cr3t"


def read(extra: dict[str, Any] | None = None, **fields: Any) -> Login:
    known: dict[str, Any] = {"host": "keystone.example.org", "login": "probe", "password": SECRET, **fields}
    written = json.dumps({"project_name": "upgrades", **(extra or {})})
    return login_of(Connection(conn_id="ops_keystone", conn_type="http", extra=written, **known))


def test_what_is_not_said_is_as_keystone_has_it_by_default() -> None:
    login = read()
    assert (login.address, login.user, login.password, login.project) == (
        "http://keystone.example.org",
        "probe",
        SECRET,
        "upgrades",
    )
    assert (login.user_domain, login.project_domain, login.cacert) == ("Default", "Default", None)


def test_what_is_said_counts() -> None:
    extra = {"path": "/identity/v3", "user_domain_name": "u", "project_domain_name": "p", "cacert": "/etc/ssl/own.pem"}
    login = read(extra, schema="https", port=5000)
    assert login.address == "https://keystone.example.org:5000/identity/v3"
    assert (login.user_domain, login.project_domain, login.cacert) == ("u", "p", "/etc/ssl/own.pem")


@pytest.mark.parametrize(
    ("extra", "fields", "wrong"),
    [
        ({}, {"login": ""}, "its login is missing"),
        ({}, {"password": None}, "its password is missing"),
        ({"project_name": ""}, {}, "its extra project_name is missing"),
        ({}, {"host": ""}, "its host and schema make no HTTP URL"),
        ({}, {"host": "ftp://keystone.example.org"}, "its host and schema make no HTTP URL"),
        ({}, {"host": f"https://probe:{SECRET}@keystone.example.org"}, "its host holds a login"),
    ],
)
def test_what_is_missing_or_wrong_is_named_without_the_secret(
    extra: dict[str, Any], fields: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong) as caught:
        read(extra, **fields)
    assert SECRET not in str(caught.value)


def test_no_secret_is_shown() -> None:
    assert SECRET not in repr(read())
    assert SECRET not in repr(Token("ops_keystone", "1", {"X-Auth-Token": SECRET}))


def test_what_a_workflow_imports_leaves_the_client_out() -> None:
    """The dag processor and the triggerer import these modules again and again."""
    modules = "rolling_upgrade.operators.preflight, rolling_upgrade.triggers.healthy"
    program = f"import sys, {modules}; print([name for name in ('keystoneauth1', 'requests') if name in sys.modules])"
    path = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "plugins")}
    done = subprocess.run([sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
