"""A token of Keystone, for requests to a service that wants one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, UnreachableError
from rolling_upgrade.hooks.connections import http_address, usable

SECONDS = 10.0
HOLD_SECONDS = 60.0
"""For how long an answer of Keystone holds. A wait that asks twice a second would get an account locked
(``[security_compliance] lockout_failure_attempts`` of Keystone) where its password is wrong."""

_ELSE = "something else than Keystone's token"


@dataclass(frozen=True)
class Login:
    """What an Airflow connection says about Keystone and an account there."""

    address: str
    user: str
    password: str = field(repr=False)
    project: str
    user_domain: str
    project_domain: str
    cacert: str | None
    """A file of the authorities to trust; None trusts what the machine trusts."""


@dataclass(frozen=True)
class Token:
    """What a request needs to be made in a project's name."""

    connection: str
    """The Airflow connection that it was had with."""
    project: str
    """The project's id."""
    headers: Mapping[str, str] = field(repr=False)


def login_of(connection: Any) -> Login:
    """Read the fields of an Airflow connection. Raises ValueError that names the one which is missing or wrong."""
    extra = connection.extra_dejson
    needed = {
        "login": connection.login,
        "password": connection.password,
        "extra project_name": extra.get("project_name"),
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise ValueError(f"its {missing[0]} is missing")
    address = http_address(connection)
    if "@" in urlsplit(address).netloc:
        raise ValueError("its host holds a login, which belongs into the fields login and password")
    return Login(
        address=address,
        user=str(connection.login),
        password=str(connection.password),
        project=str(extra["project_name"]),
        user_domain=str(extra.get("user_domain_name") or "Default"),
        project_domain=str(extra.get("project_domain_name") or "Default"),
        cacert=str(extra["cacert"]) if extra.get("cacert") else None,
    )


class KeystoneHook:
    """Keystone, as the account of one Airflow connection. Asked when a token is wanted, and not before."""

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self._answer: Token | PrecheckError | None = None
        self._answered = 0.0

    def token(self) -> Token:
        """A token for the connection's project.

        Raises PrecheckError when the connection is not usable or Keystone refuses it, UnreachableError when Keystone
        does not answer. Both name the connection and no secret.
        """
        if self._answer is None or time.monotonic() - self._answered > HOLD_SECONDS:
            try:
                self._answer = self._ask()
            except PrecheckError as refusal:
                self._answer = refusal
            self._answered = time.monotonic()
        if isinstance(self._answer, PrecheckError):
            # Made anew: an error that is raised again and again would gather tracebacks.
            said = self._answer
            raise PrecheckError(said.found, expected=said.expected, safe=said.safe, next_step=said.next_step)
        return self._answer

    def _ask(self) -> Token:
        from airflow.sdk import BaseHook
        from keystoneauth1.exceptions import ClientException
        from keystoneauth1.identity.v3 import Password
        from keystoneauth1.session import Session

        with usable(self.connection):
            login = login_of(BaseHook.get_connection(self.connection))
        account = Password(
            login.address,
            username=login.user,
            password=login.password,
            user_domain_name=login.user_domain,
            project_name=login.project,
            project_domain_name=login.project_domain,
            include_catalog=False,
        )
        # A redirect is not followed: it would take the password to another place.
        session = Session(auth=account, verify=login.cacert or True, timeout=SECONDS, redirect=False)
        try:
            headers, project = session.get_auth_headers(), session.get_project_id()
        except (ClientException, OSError, ValueError, KeyError) as error:
            # Without its cause, which may hold what was sent.
            raise _failure(self.connection, login.address, error) from None
        finally:
            session.session.close()
        return Token(self.connection, str(project), dict(headers or {}))


def _failure(connection: str, address: str, error: Exception) -> RollingUpgradeError:
    """In words that tell a wrong login, a Keystone that cannot be reached and a wrong address apart."""
    from keystoneauth1 import exceptions

    where = f"Keystone at {address} (connection {connection})"
    safe = "nothing was asked of a node, nor changed."
    answer = error.http_status if isinstance(error, exceptions.HttpError) else None
    if isinstance(error, exceptions.Unauthorized):
        return PrecheckError(
            f"{where} refuses the login: wrong user, password, project or domain, or no role in the project (401).",
            expected="a token for the connection's project.",
            safe=safe,
            next_step="correct the connection in Airflow or the account in Keystone, then clear this task.",
        )
    if isinstance(error, (exceptions.ConnectionError, exceptions.HttpServerError, OSError)):
        return UnreachableError(
            f"{where} answers {answer} to a login." if answer else f"{where} cannot be reached: {_root(error)}.",
            expected="a token for the connection's project.",
            safe=safe,
            next_step="bring Keystone back, or correct the connection and its cacert, then clear this task.",
        )
    return PrecheckError(
        f"{where} answers {answer or _ELSE} to a login: is this its address?",
        expected="a token for the connection's project.",
        safe=safe,
        next_step="correct the connection's host, schema, port or path, then clear this task.",
    )


def _root(error: BaseException) -> str:
    """What began it, in few words: the libraries wrap a refused connection or certificate several times."""
    while before := error.__cause__ or error.__context__:
        error = before
    return (str(error) or type(error).__name__).rstrip(".")[:200]
