"""DatabaseHook on a real MariaDB."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Database
from rolling_upgrade.hooks.database import DatabaseHook, service_login
from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import OPERATOR, SERVICE, Login, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection

pytestmark = pytest.mark.integration

DATABASE = Database(connection="it_database", service_connection="it_service_database", name=SCHEMA)
QUESTIONS: dict[str, Callable[[DatabaseHook], object]] = {
    "heads": lambda hook: hook.heads(),
    "server_version": lambda hook: hook.server_version(),
    "session_hosts": lambda hook: hook.session_hosts(SERVICE.name),
}


def test_heads_are_the_revisions_of_the_schema(database: MariaDB) -> None:
    database.at("zed_expand01", "antelope_contract01")

    assert DatabaseHook(DATABASE).heads() == ("antelope_contract01", "zed_expand01")


def test_a_schema_without_a_revision_table_is_an_error_that_names_it(database: MariaDB) -> None:
    with pytest.raises(UnreachableError, match="alembic_version"):
        DatabaseHook(DATABASE).heads()


def test_the_server_says_its_version(database: MariaDB) -> None:
    assert DatabaseHook(DATABASE).server_version() == database.run("SELECT VERSION()")[0][0]


def test_sessions_of_the_service_are_seen_with_their_hosts(database: MariaDB) -> None:
    hook = DatabaseHook(DATABASE)
    assert hook.session_hosts(SERVICE.name) == ()

    first, second = (database.connect(SERVICE, SCHEMA) for _ in range(2))
    try:
        assert hook.session_hosts(SERVICE.name) == ("127.0.0.1", "127.0.0.1")
        assert hook.session_hosts("somebody") == ()
        assert hook.session_hosts("glance' OR '1'='1") == ()
    finally:
        first.close()
        second.close()


def test_the_services_login_comes_from_its_connection(database: MariaDB) -> None:
    login = service_login(DATABASE)

    assert (login.login, login.password, login.host, login.port, login.name) == (
        SERVICE.name,
        SERVICE.password,
        "127.0.0.1",
        database.port,
        SCHEMA,
    )


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_closed_port_is_unreachable(database: MariaDB, set_connection: SetConnection, question: str) -> None:
    set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    with pytest.raises(UnreachableError, match="the database of connection it_database cannot be asked"):
        QUESTIONS[question](DatabaseHook(DATABASE))


def test_a_wrong_password_is_unreachable_and_shows_in_nothing(
    database: MariaDB,
    set_connection: SetConnection,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    wrong = "wrong-but-secret-password"
    set_connection("it_database", database.connection(Login(OPERATOR.name, wrong)))

    with pytest.raises(UnreachableError, match="Access denied") as caught:
        DatabaseHook(DATABASE).heads()

    captured = capfd.readouterr()
    for text in (str(caught.value), repr(caught.value), caplog.text, captured.out, captured.err):
        assert wrong not in text


def test_a_login_that_cannot_see_other_sessions_is_no_proof_that_there_are_none(
    database: MariaDB, set_connection: SetConnection
) -> None:
    blind = Login("blind", "blind-password")
    database.user(blind, SCHEMA, "GRANT SELECT ON {schema}.* TO {user}")
    set_connection("it_database", database.connection(blind))
    session = database.connect(SERVICE, SCHEMA)
    try:
        with pytest.raises(UnreachableError, match="PROCESS"):
            DatabaseHook(DATABASE).session_hosts(SERVICE.name)
    finally:
        session.close()
