"""A node is tried with an image: on a real glance-api that wants tokens of a real Keystone."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from include.lab.settings import from_environment
from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import load
from rolling_upgrade.hooks import keystone as hook
from rolling_upgrade.hooks.keystone import KeystoneHook, Token
from rolling_upgrade.operators.preflight import PreflightOperator
from rolling_upgrade.services import registry
from rolling_upgrade.services.image_probe import NAME as PROBE
from rolling_upgrade.services.image_probe import SIZE, try_image
from rolling_upgrade.triggers.healthy import HEALTHY_SECONDS, HealthyTrigger
from rolling_upgrade.triggers.waiting import Wait
from tests.integration.parts.bad_glance import bad_glance
from tests.integration.parts.fleets import NAME, NEW, SERVICE, context
from tests.integration.parts.glance import Glance, glance
from tests.integration.parts.keystone import ADMIN_PASSWORD, PASSWORD, PROJECT, Keystone, keystone
from tests.integration.parts.processes import free_port, running, until
from tests.integration.parts.relay import own_certificate, relay_to
from tests.integration.parts.services import service
from tests.integration.parts.site import SetConnection, Site
from tests.integration.parts.webhook import webhook

# Keystone and Glance take many seconds of processor time to start, once for all these tests.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CREDENTIALS = "it_keystone"
WRONG = "wr0ng-s3cr3t"
EXTRA = {"path": "/v3", "project_name": PROJECT}


@dataclass(frozen=True)
class Cloud:
    """A Keystone with a member and a reader of one project, and a Glance that asks it."""

    keystone: Keystone
    glance: Glance


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = from_environment()
    folder = tmp_path_factory.mktemp("keystone")
    with (
        keystone(folder, settings.cache) as identity,
        glance(tmp_path_factory.mktemp("glance"), settings, identity) as images,
    ):
        identity.until_ready()
        identity.create_accounts(glance="service", member="member", reader="reader")
        yield Cloud(identity, images)


@pytest.fixture
def member(cloud: Cloud, set_connection: SetConnection) -> Token:
    """A token that an ordinary member of the project gets."""
    set_connection(CREDENTIALS, cloud.keystone.connection("member"))
    return KeystoneHook(CREDENTIALS).token()


@pytest.fixture
def administrator(cloud: Cloud, set_connection: SetConnection) -> Token:
    """A token of the administrator's own project, who is shown the images of all."""
    extra = {"project_name": "admin"}
    set_connection("it_admin", cloud.keystone.connection("admin", ADMIN_PASSWORD, extra=extra))
    return KeystoneHook("it_admin").token()


def names_of_images(cloud: Cloud, token: Token) -> list[str]:
    answer = requests.get(cloud.glance.url, headers=dict(token.headers), timeout=20)
    return sorted(image["name"] for image in answer.json()["images"])


def create_image(cloud: Cloud, token: Token, **fields: str) -> str:
    """An image as a probe leaves one that is cut off before its upload; gives its address."""
    body = {"name": f"{PROBE}-node1", "disk_format": "raw", "container_format": "bare", **fields}
    answer = requests.post(cloud.glance.url, json=body, headers=dict(token.headers), timeout=20)
    assert answer.status_code == 201, answer.text
    return f"{cloud.glance.url}/{answer.json()['id']}"


def test_a_member_stores_reads_and_deletes_and_leaves_nothing(
    cloud: Cloud, member: Token, administrator: Token
) -> None:
    trial = try_image("node1", "127.0.0.1", cloud.glance.port, member)

    assert (trial.tried, trial.failure) == (True, None)
    assert names_of_images(cloud, administrator) == []
    assert list(cloud.glance.store.iterdir()) == []


def test_leftovers_of_an_earlier_probe_are_deleted_and_images_of_others_are_not(
    cloud: Cloud, member: Token, administrator: Token
) -> None:
    left = create_image(cloud, member, visibility="private")
    others = create_image(cloud, administrator, visibility="public")
    try:
        trial = try_image("node1", "127.0.0.1", cloud.glance.port, member)

        assert (trial.tried, trial.failure) == (True, None)
        known = {url: requests.get(url, headers=dict(administrator.headers), timeout=20) for url in (left, others)}
        assert [answer.status_code for answer in known.values()] == [404, 200]
    finally:
        requests.delete(others, headers=dict(administrator.headers), timeout=20)


def test_a_node_that_gives_other_bytes_back_or_takes_none_fails_and_is_left_without_the_image() -> None:
    with bad_glance() as node:
        node.content = bytes(SIZE)
        trial = try_image("node1", "127.0.0.1", node.port)
        assert trial.failure == f"a download gives other bytes than the upload had ({SIZE} of {SIZE})"
        assert node.images == set()

        node.upload_status = 503
        trial = try_image("node1", "127.0.0.1", node.port)
        assert trial.failure == "an upload of an image answers 503 instead of 204: "
        assert node.images == set()


def test_a_proxy_of_the_environment_does_not_answer_in_the_nodes_place(
    cloud: Cloud, member: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")

        trial = try_image("node1", "127.0.0.1", cloud.glance.port, member)

    assert (trial.failure, proxy.got) == (None, [])


def test_without_a_token_a_node_that_wants_one_is_not_tried(cloud: Cloud) -> None:
    trial = try_image("node1", "127.0.0.1", cloud.glance.port)

    assert (trial.tried, trial.failure) == (False, None)


def test_an_account_without_permission_is_told_from_all_else(cloud: Cloud, set_connection: SetConnection) -> None:
    set_connection(CREDENTIALS, cloud.keystone.connection("reader"))

    trial = try_image("node1", "127.0.0.1", cloud.glance.port, KeystoneHook(CREDENTIALS).token())

    assert trial.failure == "a create of an image is forbidden to the account of connection it_keystone (403)"


def test_a_token_that_the_node_does_not_take_is_a_failure(cloud: Cloud, member: Token) -> None:
    token = replace(member, headers={"X-Auth-Token": "of-another-keystone"})

    trial = try_image("node1", "127.0.0.1", cloud.glance.port, token)

    refused = "the node does not take the token of connection it_keystone (401)"
    assert trial.failure == f"a list by name of an image: {refused}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": WRONG},
        {"login": "nobody"},
        {"extra": {**EXTRA, "project_name": "elsewhere"}},
        {"extra": {**EXTRA, "user_domain_name": "elsewhere"}},
        {"extra": {**EXTRA, "project_domain_name": "elsewhere"}},
    ],
    ids=["password", "user", "project", "user-domain", "project-domain"],
)
def test_a_wrong_login_is_refused_and_no_secret_is_told(
    cloud: Cloud, set_connection: SetConnection, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    set_connection(CREDENTIALS, {**cloud.keystone.connection("member"), **wrong})

    with pytest.raises(PrecheckError) as caught:
        KeystoneHook(CREDENTIALS).token()

    assert caught.value.found == (
        f"Keystone at {cloud.keystone.url} (connection it_keystone) refuses the login: "
        "wrong user, password, project or domain, or no role in the project (401)."
    )
    for secret in (PASSWORD, WRONG):
        assert secret not in f"{caught.value!r}{caught.value}{caplog.text}"


def test_a_refusal_holds_for_a_while_so_that_no_account_is_locked(
    cloud: Cloud, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(CREDENTIALS, cloud.keystone.connection("member", WRONG))
    asked = KeystoneHook(CREDENTIALS)
    with pytest.raises(PrecheckError):
        asked.token()
    set_connection(CREDENTIALS, cloud.keystone.connection("member"))

    with pytest.raises(PrecheckError, match="refuses the login"):
        asked.token()
    monkeypatch.setattr(hook, "HOLD_SECONDS", 0.0)
    token = asked.token()

    monkeypatch.undo()
    assert asked.token() is token, "an answer that is not old is not asked for again"
    assert token.headers["X-Auth-Token"] not in repr(token)


def test_a_keystone_that_does_not_answer_is_asked_again_at_once(cloud: Cloud, set_connection: SetConnection) -> None:
    port = free_port()
    set_connection(CREDENTIALS, cloud.keystone.connection("member", port=port))
    asked = KeystoneHook(CREDENTIALS)

    with pytest.raises(UnreachableError) as caught:
        asked.token()

    assert caught.value.found == (
        f"Keystone at http://127.0.0.1:{port}/v3 (connection it_keystone) cannot be reached: "
        "[Errno 111] Connection refused."
    )
    set_connection(CREDENTIALS, cloud.keystone.connection("member"))
    assert asked.token().connection == CREDENTIALS


def test_an_address_that_is_not_keystones_is_told(cloud: Cloud, set_connection: SetConnection) -> None:
    set_connection(CREDENTIALS, cloud.keystone.connection("member", port=cloud.glance.port))
    with pytest.raises(PrecheckError, match="answers something else than Keystone's token to a login") as caught:
        KeystoneHook(CREDENTIALS).token()
    assert f":{cloud.glance.port}/v3 " in caught.value.found

    elsewhere = {**EXTRA, "path": "/identity/v3"}
    set_connection(CREDENTIALS, cloud.keystone.connection("member", extra=elsewhere))
    with pytest.raises(PrecheckError, match="answers 404 to a login: is this its address"):
        KeystoneHook(CREDENTIALS).token()


def test_a_proxy_before_keystone_that_answers_in_its_place(cloud: Cloud, set_connection: SetConnection) -> None:
    with webhook() as proxy, webhook() as elsewhere:
        set_connection(CREDENTIALS, cloud.keystone.connection("member", port=proxy.port))

        proxy.status = 503
        with pytest.raises(UnreachableError, match="answers 503 to a login") as caught:
            KeystoneHook(CREDENTIALS).token()
        # Airflow logs an error with all that it came from; an answer can repeat what was sent.
        assert "keystoneauth1" not in "".join(traceback.format_exception(caught.value))

        proxy.status, proxy.location = 307, f"http://127.0.0.1:{elsewhere.port}/v3/auth/tokens"
        with pytest.raises(PrecheckError, match="answers something else than Keystone's token to a login"):
            KeystoneHook(CREDENTIALS).token()

    assert proxy.got[-1].json["auth"]["identity"]["password"]["user"]["password"] == PASSWORD
    assert elsewhere.got == [], "a password is sent to Keystone's address and nowhere else"


def test_a_node_that_sends_elsewhere_does_not_move_the_token(member: Token) -> None:
    with webhook() as node, webhook() as elsewhere:
        node.status, node.location = 301, f"http://127.0.0.1:{elsewhere.port}/v2/images"

        trial = try_image("node1", "127.0.0.1", node.port, member)

    assert trial.failure is not None
    assert trial.failure.startswith("a list by name of an image answers 301 instead of 200")
    assert node.got[0].headers["X-Auth-Token"] == member.headers["X-Auth-Token"]
    assert elsewhere.got == []


def test_a_certificate_is_verified(cloud: Cloud, set_connection: SetConnection, tmp_path: Path) -> None:
    pem, port, ready = own_certificate(tmp_path / "own.pem"), free_port(), tmp_path / "ready"
    (tmp_path / "relay.py").write_text(relay_to(cloud.keystone.port, pem))
    over_tls = cloud.keystone.connection("member", schema="https", port=port)
    command = [sys.executable, "-I", str(tmp_path / "relay.py"), str(port), str(ready)]
    with running(command, tmp_path / "relay.log") as relay:
        relay.until(ready.exists, "the relay")

        set_connection(CREDENTIALS, over_tls)
        with pytest.raises(UnreachableError, match=r"cannot be reached: .*certificate verify failed"):
            KeystoneHook(CREDENTIALS).token()

        set_connection(CREDENTIALS, {**over_tls, "extra": {**EXTRA, "cacert": str(pem)}})
        assert KeystoneHook(CREDENTIALS).token().connection == CREDENTIALS


@contextmanager
def started(site: Site, cloud: Cloud) -> Iterator[None]:
    """node1 on the new release, checked well by the balancers; requests to its own address are Glance's to answer."""
    tree = site.root / "releases" / NEW
    (tree / "bin" / "service").write_text(relay_to(cloud.glance.port))
    with service(site.root, f"releases/{NEW}", site.profile.port):
        site.start()
        until(lambda: not healthy().why_not_healthy(site.wait()), "node1 to be healthy but for the image")
        yield


def healthy() -> HealthyTrigger:
    return HealthyTrigger(fleet=NAME, nodes_from="plan")


def waiting(site: Site, credentials: str | None, since_seconds: float = 0.0) -> Wait:
    """The wait for node1 of an image service."""
    wait = site.wait(since_seconds=since_seconds)
    health = wait.fleet.health.model_copy(update={"credentials": credentials})
    fleet = wait.fleet.model_copy(update={"health": health})
    return replace(wait, fleet=fleet, profile=replace(wait.profile, image_api=True))


def test_a_node_is_healthy_once_it_was_tried_with_an_image(site: Site, cloud: Cloud, administrator: Token) -> None:
    good = cloud.keystone.connection("member")
    with started(site, cloud):
        record = healthy().poll(waiting(site, None))
        assert isinstance(record, dict)
        assert record["did"].endswith(
            "; it was not tried with an image: it wants a token, and the fleet file names no health.credentials"
        )

        site.set_connection(CREDENTIALS, good)
        record = healthy().poll(waiting(site, CREDENTIALS))
        assert isinstance(record, dict)
        assert "image" not in record["did"]
        assert names_of_images(cloud, administrator) == []

        site.set_connection(CREDENTIALS, {**good, "password": WRONG})
        refused = healthy()
        assert refused.poll(waiting(site, CREDENTIALS)) is None, "not yet"
        site.set_connection(CREDENTIALS, good)  # Keystone is not asked again so soon
        with pytest.raises(VerifyError, match=r"is not healthy after 180 s: Keystone at .* refuses the login: "):
            refused.poll(waiting(site, CREDENTIALS, HEALTHY_SECONDS + 1))

        site.set_connection(CREDENTIALS, {**good, "port": free_port()})
        with pytest.raises(VerifyError, match=r"is not healthy after 180 s: Keystone at .* cannot be reached: "):
            healthy().poll(waiting(site, CREDENTIALS, HEALTHY_SECONDS + 1))

        site.set_connection(CREDENTIALS, cloud.keystone.connection("reader"))
        with pytest.raises(VerifyError, match="a create of an image is forbidden to the account of connection"):
            healthy().poll(waiting(site, CREDENTIALS, HEALTHY_SECONDS + 1))


@pytest.fixture
def preflight(
    site: Site, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Preflight of a node of an image service, whose fleet file names credentials and says what a test wants."""
    monkeypatch.setitem(registry._SERVICES, SERVICE, replace(site.profile, image_api=True))
    path = tmp_path / "fleets" / f"{NAME}.yaml"
    content = yaml.safe_load(path.read_text())

    def ask(node: str = "node1", **health: object) -> dict[str, Any]:
        path.write_text(yaml.safe_dump({**content, "health": {"credentials": CREDENTIALS, **health}}))
        return PreflightOperator(task_id="preflight", fleet=NAME, node=node).execute(context(load(path)))

    return ask


def test_preflight_refuses_a_fleet_whose_credentials_get_no_token(
    cloud: Cloud, preflight: Callable[..., dict[str, Any]], set_connection: SetConnection
) -> None:
    with pytest.raises(PrecheckError, match="connection it_keystone cannot be used: "):
        preflight()

    set_connection(CREDENTIALS, cloud.keystone.connection("member", WRONG))
    with pytest.raises(PrecheckError) as caught:
        preflight()
    assert caught.value.found == (
        f"node1 is not ready for an upgrade: Keystone at {cloud.keystone.url} (connection it_keystone) refuses the "
        "login: wrong user, password, project or domain, or no role in the project (401)."
    )

    set_connection(CREDENTIALS, cloud.keystone.connection("member", port=free_port()))
    with pytest.raises(PrecheckError, match=r"connection it_keystone\) cannot be reached: .*refused\.\n"):
        preflight()

    set_connection(CREDENTIALS, cloud.keystone.connection("member"))
    assert preflight()["did"].startswith("ready")


def test_preflight_asks_for_a_token_only_where_one_is_used_and_once_a_run(
    preflight: Callable[..., dict[str, Any]], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as keystone_of_all:
        site.set_connection(CREDENTIALS, keystone_of_all.connection(login="member", password=PASSWORD, extra=EXTRA))
        assert preflight(image=False)["did"].startswith("ready")
        assert preflight(credentials=None)["did"].startswith("ready")
        assert preflight("node2")["did"].startswith("ready")
        assert keystone_of_all.got == []

        with pytest.raises(PrecheckError):
            preflight("node1")
        assert len(keystone_of_all.got) == 1

        monkeypatch.setitem(registry._SERVICES, SERVICE, site.profile)
        assert preflight()["did"].startswith("ready"), "a service without images needs no token"
