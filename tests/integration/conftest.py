"""Real parts for the integration tests. Each is started once and shared where the tests leave it as it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rolling_upgrade.decisions.schema_checks import TRUST
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.operators import database_phase
from rolling_upgrade.services import registry
from rolling_upgrade.services.profile import ServiceProfile
from tests.integration.parts import fleets
from tests.integration.parts.backups import SMALL, Backup, Tools
from tests.integration.parts.mariadb import (
    OPERATOR,
    OPERATOR_GRANTS,
    SCRATCH,
    SERVICE,
    TRUST_GRANT,
    MariaDB,
    mariadb,
)
from tests.integration.parts.processes import free_port
from tests.integration.parts.schema_world import LONG_SECONDS, SchemaWorld, like_glance, schema_world
from tests.integration.parts.site import SetConnection, Site, site
from tests.integration.parts.sshd import ADDRESSES, Sshd, sshd


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's fleet or connections is seen."""
    for name in list(os.environ):
        if name.startswith(("GLANCE_LAB_", "ROLLING_UPGRADE_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch) -> SetConnection:
    """Define an Airflow connection for this test."""

    def define(name: str, connection: Mapping[str, object]) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))

    return define


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with mariadb(tmp_path_factory.mktemp("db")) as server:
        yield server


@pytest.fixture
def database(database_server: MariaDB, set_connection: SetConnection) -> MariaDB:
    """The server with an empty schema, no claim, the lab's two users, and Airflow connections for both."""
    schema = fleets.SCHEMA
    database_server.run(
        "SET foreign_key_checks = 0",
        f"CREATE OR REPLACE DATABASE {schema}",
        "DROP DATABASE IF EXISTS rolling_upgrade",
        f"DROP DATABASE IF EXISTS {SCRATCH}",
    )
    database_server.user(OPERATOR, schema, *OPERATOR_GRANTS)
    database_server.user(SERVICE, schema, "GRANT ALL ON {schema}.* TO {user}")
    set_connection("it_database", database_server.connection(OPERATOR))
    set_connection("it_service_database", database_server.connection(SERVICE))
    return database_server


@pytest.fixture
def small_schema(database: MariaDB) -> MariaDB:
    """The server with a schema that has one of everything, and 1,000 rows that are hard to count."""
    database.run(*SMALL, schema=fleets.SCHEMA)
    return database


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path / "tools", monkeypatch)


@pytest.fixture
def backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_service: ServiceProfile, reachable_nodes: Sshd
) -> Backup:
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    return Backup(tmp_path / "backups")


@pytest.fixture
def small_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceProfile:
    """The profile of a service whose tree and port belong to this test, known to the workflow by name."""
    profile = fleets.profile(tmp_path / "node", free_port())
    Path(profile.root).mkdir()
    monkeypatch.setitem(registry._SERVICES, profile.name, profile)
    return profile


@pytest.fixture
def unconfigured_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases begin without a configuration of their own, which nothing in these tests reads."""
    monkeypatch.setattr(database_phase, "_configure", lambda step: None)


@pytest.fixture
def reachable_nodes(ssh_server: Sshd, set_connection: SetConnection) -> Sshd:
    """Connections to every node of a fleet, for a test that needs nodes and no balancer."""
    ssh_server.begin()
    for number, address in enumerate(ADDRESSES, 1):
        set_connection(f"it_node{number}", ssh_server.connection(address))
    return ssh_server


@pytest.fixture
def small_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The catalogue of the small service, for every step that looks for a release's revisions."""
    catalogue = fleets.catalogue(tmp_path)
    for module in ("check_database", "database_phase", "service", "way_back"):
        monkeypatch.setattr(f"rolling_upgrade.operators.{module}.load_catalogue", lambda: catalogue)
    monkeypatch.setattr("rolling_upgrade.triggers.phase_complete.load_catalogue", lambda: catalogue)
    return catalogue


@pytest.fixture
def before_expand(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_service: ServiceProfile,
    reachable_nodes: Sshd,
    database: MariaDB,
    small_catalogue: Catalogue,
    set_connection: SetConnection,
    unconfigured_phases: None,
) -> Iterator[SchemaWorld]:
    """A fleet that may be upgraded, with all that Glance's profile refuses; no balancer is asked."""
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    set_connection("it_lb1", {"conn_type": "generic", "host": "127.0.0.1", "port": free_port()})
    profile = like_glance(small_service)
    monkeypatch.setitem(registry._SERVICES, profile.name, profile)
    fleet = fleets.write_fleet(tmp_path / "fleets", database={"long_transaction_seconds": LONG_SECONDS})
    with schema_world(fleet, profile, database, reachable_nodes) as made:
        yield made


@pytest.fixture
def trusting_world(before_expand: SchemaWorld, tmp_path: Path) -> SchemaWorld:
    """The same, and its file lets the workflow set what its operator's login may set."""
    before_expand.database.user(OPERATOR, fleets.SCHEMA, *OPERATOR_GRANTS, TRUST_GRANT)
    before_expand.database.run(f"SET GLOBAL {TRUST} = 0")
    before_expand.fleet = fleets.write_fleet(tmp_path / "fleets", database={"set_log_bin_trust": True})
    return before_expand


@pytest.fixture(name="site")
def _site(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_connection: SetConnection,
    ssh_server: Sshd,
    small_service: ServiceProfile,
    database: MariaDB,
    request: pytest.FixtureRequest,
) -> Iterator[Site]:
    """Two balancers with three servers; a parameter, where a test gives one, is the time between health checks."""
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    with site(tmp_path, small_service, ssh_server, set_connection, inter=getattr(request, "param", "100ms")) as made:
        yield made


@pytest.fixture
def releases(site: Site) -> Path:
    """The folder of archives, with the new release's in it."""
    folder = Path(site.fleet.releases.archives)
    folder.mkdir()
    content = b"an archive"
    (folder / fleets.ARCHIVE).write_bytes(content)
    (folder / f"{fleets.ARCHIVE}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {fleets.ARCHIVE}\n")
    return folder
