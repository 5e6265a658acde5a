"""A real Keystone on loopback with a database of its own, and the accounts that a test wants there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from include.lab.errors import LabError
from tests.integration.parts.processes import Program, free_port, listens, running
from tests.keystone import environment

# What a header, a URL and a log could each trip over.
ADMIN_PASSWORD = "Adm1n#\"p'w\\;$HOME%/@:é"
PASSWORD = "s3cr3t#\"of'the\\probe;$HOME%/@:é"
PROJECT = "upgrades"
SERVE = environment.LOCK.with_name("serve.py")
CONFIGURATION = """\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/receipts
[identity]
password_hash_rounds = 4
[credential]
key_repository = {folder}/credential
"""


class Keystone:
    """One Keystone with one project for the tests, beside its administrator's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self.program: Program | None = None

    def connection(self, user: str, password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
        """An Airflow connection to it for that user, in the project of the tests."""
        return {
            "conn_type": "http",
            "host": "127.0.0.1",
            "schema": "http",
            "port": self.port,
            "login": user,
            "password": password,
            "extra": {"path": "/v3", "project_name": PROJECT},
            **fields,
        }

    def until_ready(self) -> None:
        assert self.program is not None
        self.program.until(lambda: listens(self.port), "Keystone", seconds=50)

    def create_accounts(self, **roles: str) -> None:
        """The project of the tests, and in it a user for each role."""
        with self._administrator() as ask:
            project = ask("POST", "/projects", json={"project": {"name": PROJECT}})["project"]["id"]
            known = {role["name"]: role["id"] for role in ask("GET", "/roles")["roles"]}
            for user, role in roles.items():
                body = {"user": {"name": user, "password": PASSWORD}}
                created = ask("POST", "/users", json=body)["user"]["id"]
                ask("PUT", f"/projects/{project}/users/{created}/roles/{known[role]}")

    @contextmanager
    def _administrator(self) -> Iterator[Any]:
        from keystoneauth1.identity.v3 import Password
        from keystoneauth1.session import Session

        account = Password(
            self.url,
            username="admin",
            password=ADMIN_PASSWORD,
            user_domain_name="Default",
            project_name="admin",
            project_domain_name="Default",
        )
        session = Session(auth=account)

        def ask(method: str, path: str, **sent: Any) -> Any:
            answer = session.request(f"{self.url}{path}", method, **sent)
            return answer.json() if answer.content else None

        yield ask
        session.session.close()


@contextmanager
def keystone(folder: Path, cache: Path) -> Iterator[Keystone]:
    """A Keystone for as long as the block lasts; it makes itself ready while the block goes on."""
    try:
        home = environment.ensure(cache)
    except LabError as error:
        pytest.fail(str(error))
    made = Keystone(folder)
    (folder / "keystone.conf").write_text(CONFIGURATION.format(folder=folder))
    command = [str(home / "bin" / "python"), str(SERVE), str(folder), str(made.port)]
    with running(command, folder / "keystone.log", {**os.environ, "OS_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD}) as program:
        made.program = program
        yield made
