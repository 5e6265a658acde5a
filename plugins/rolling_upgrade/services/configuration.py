"""Rendering a service's configuration for one node on one release, from the templates in ``include/config``."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import jinja2

from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.inventory import PROJECT_ROOT, Fleet, Node

TEMPLATES = PROJECT_ROOT / "include" / "config"


@dataclass(frozen=True)
class ServiceLogin:
    """How the service logs in to its database. The password is kept out of ``repr``."""

    login: str
    password: str
    host: str
    port: int
    name: str

    def __repr__(self) -> str:
        return f"ServiceLogin({self.login}@{self.host}:{self.port}/{self.name})"


def store_groups(text: str) -> list[str]:
    """Groups that a configuration names itself: its stores, from ``enabled_backends = name:type, …``."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    parser.read_string(text)
    enabled = parser.get("DEFAULT", "enabled_backends", fallback="")
    return [store.split(":")[0].strip() for store in enabled.split(",") if store.strip()]


def phase_configuration(text: str, lock_wait_seconds: int) -> str:
    """What a database phase reads after ``text``: the same database, with a bound on waits for a table's lock.

    Who waits for such a lock makes every later request for the table wait behind it, users' too.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    parser.read_string(text)
    url = urlsplit(parser.get("database", "connection"))
    command = quote(f"SET SESSION lock_wait_timeout={lock_wait_seconds}", safe="")
    query = "&".join(filter(None, [url.query, f"init_command={command}"]))
    return (
        "# Written by the rolling upgrade for the phases of the database alone; the service does not read it.\n"
        f"[database]\nconnection = {urlunsplit(url._replace(query=query))}\n"
    )


def render(
    fleet: Fleet,
    node: Node,
    release: str,
    service_login: ServiceLogin,
    *,
    service_port: int = 9292,
    templates: Path = TEMPLATES,
) -> str:
    """The node's main configuration file, as text.

    Raises RefusedError when the template is missing, is wrong, or uses a value that the fleet file does not give.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates / fleet.config.templates),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - an INI file, not HTML
        keep_trailing_newline=True,
    )
    # Jinja's own urlencode leaves a slash as it is, and a slash in a password ends the host part of a URL.
    environment.filters["quote_url"] = partial(quote, safe="")
    template = f"{fleet.service}-api.conf.j2"
    try:
        return environment.get_template(template).render(
            fleet=fleet,
            node=node,
            release=release,
            service_port=service_port,
            database=service_login,
            values=fleet.config.values,
        )
    except jinja2.TemplateError as error:
        raise RefusedError(
            f"template {fleet.config.templates}/{template} cannot be rendered for {node.name}: {error}.",
            expected="a template in include/config that uses only what the fleet file gives.",
            next_step="correct the template or config.values in the fleet file.",
        ) from error
