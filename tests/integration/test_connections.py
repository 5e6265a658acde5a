"""A connection that cannot be used is named, and nothing of its secrets is."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.fleet.inventory import Balancer, Database, Node
from rolling_upgrade.hooks.balancer import BalancerHook
from rolling_upgrade.hooks.database import DatabaseHook, service_login
from rolling_upgrade.hooks.keystone import KeystoneHook
from rolling_upgrade.hooks.node import NodeHook

pytestmark = pytest.mark.integration

SECRET = "s3cr3t"
DATABASE = Database(connection="it_broken", service_connection="it_broken", name="glance")
USES: dict[str, Callable[[], object]] = {
    "node": lambda: NodeHook.from_connection(Node(name="node1", address="127.0.0.1", ssh_connection="it_broken")),
    "balancer": lambda: BalancerHook.from_connection(Balancer(name="lb1", connection="it_broken", backend="b")),
    "database": lambda: DatabaseHook(DATABASE),
    "service": lambda: service_login(DATABASE),
    "keystone": lambda: KeystoneHook("it_broken").token(),
}
EVERYWHERE = {
    "missing": None,
    "not whole": f'{{"conn_type": "mysql", "password": "{SECRET}"',
    "unknown field": f'{{"conn_type": "mysql", "password": "{SECRET}", "passphrase": "{SECRET}"}}',
    "no port": f'{{"conn_type": "mysql", "password": "{SECRET}", "port": "none"}}',
    "password that ends the host": f"mysql://upgrade:{SECRET}/{SECRET}@127.0.0.1:3306/glance",
    "password like more addresses": f"mysql://upgrade:{SECRET}://{SECRET}://@127.0.0.1/glance",
}
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\\n{}\\n-----END OPENSSH PRIVATE KEY-----\\n"
FOR_SSH = {
    "private key that is none": f'{{"private_key": "{KEY.format(SECRET * 10)}"}}',
    "private key without lines": f'{{"private_key": "-----BEGIN {SECRET}"}}',
    "host key that is none": '{"host_key": "ssh-ed25519 x"}',
    "host key of a kind that is not known": '{"host_key": "rot13 AAAA"}',
}


def assert_named(
    use: Callable[[], object], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PrecheckError) as caught:
        use()

    assert caught.value.found.startswith("connection it_broken cannot be used: ")
    # Airflow logs an error with all that it came from.
    shown = "".join(traceback.format_exception(caught.value))
    captured = capfd.readouterr()
    for text in (str(caught.value), repr(caught.value), shown, caplog.text, captured.out, captured.err):
        assert SECRET not in text


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("broken", EVERYWHERE)
def test_a_connection_that_airflow_cannot_give_is_named(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    use: str,
    broken: str,
) -> None:
    value = EVERYWHERE[broken]
    if value is not None:
        monkeypatch.setenv("AIRFLOW_CONN_IT_BROKEN", value)

    assert_named(USES[use], caplog, capfd)


@pytest.mark.parametrize("broken", FOR_SSH)
def test_an_ssh_connection_with_a_key_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], broken: str
) -> None:
    value = f'{{"conn_type": "ssh", "host": "127.0.0.1", "password": "{SECRET}", "extra": {FOR_SSH[broken]}}}'
    monkeypatch.setenv("AIRFLOW_CONN_IT_BROKEN", value)

    assert_named(USES["node"], caplog, capfd)
