"""The upgrade of Glance from Newton to Ocata by the workflow's own steps, with Glance's own manage command.

Glance 13 is Newton, Glance 14 is Ocata. Neither runs on a Python of today; a later release still carries all of
Ocata's migrations, and is held at Ocata here.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.evidence.record import Record, now
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import schema_state
from rolling_upgrade.operators.database_phase import ContractOperator, ExpandOperator, MigrateOperator
from rolling_upgrade.services import configuration, registry
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.triggers.migration_complete import MigrationCompleteTrigger
from rolling_upgrade.triggers.phase_complete import PhaseCompleteTrigger
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger
from tests.integration.parts.fleets import NAME, NEW, OLD, SCHEMA, SERVICE, context, plan
from tests.integration.parts.mariadb import SERVICE as SERVICE_LOGIN
from tests.integration.parts.mariadb import MariaDB
from tests.integration.parts.newton import ROWS_LEFT
from tests.integration.parts.processes import program
from tests.integration.parts.services import service, switch
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task, events_of, failure_of, states
from tests.integration.parts.unit_shim import Unit
from tests.integration.parts.units import unit

CARRIER = "26.1.0"
"""The release whose code is held at Ocata: the newest that the lab builds and that still has Ocata's migrations."""
NEWTON, EXPANDED, CONTRACTED = "mitaka02", "ocata_expand01", "ocata_contract01"
REVISIONS = ("liberty", "mitaka", "ocata")
MIGRATIONS = "lib/python3.11/site-packages/glance/db/sqlalchemy/alembic_migrations"
TEMPLATE = """\
[DEFAULT]
use_stderr = true
[database]
connection = mysql+pymysql://{{ database.login | quote_url }}:{{ database.password | quote_url }}@{{ database.host }}:\
{{ database.port }}/{{ database.name }}?charset=utf8
"""
PIN = Path(__file__).with_name("ocata_manage.py")
MANAGE = '#!/bin/sh\nexec "{carrier}/bin/python" "{pin}" "{versions}" "$@"\n'
BACKUP = {"backup_database": {"begun": now()}}


def pinned(folder: Path, carrier: Path) -> Path:
    """A manage command of Ocata, made of that release's tree."""
    versions = folder / "versions"
    versions.mkdir()
    for script in (carrier / MIGRATIONS / "versions").glob("*.py"):
        if script.name.startswith(REVISIONS):
            shutil.copy(script, versions)
    # Its own folder is the first that Python looks in for modules.
    pin = shutil.copy(PIN, folder)
    command = folder / "manage"
    command.write_text(MANAGE.format(carrier=carrier, pin=pin, versions=versions))
    command.chmod(0o755)
    return command


def newton_schema(folder: Path, manage: Path, server: MariaDB) -> bytes:
    """The statements that make Newton's tables, as Glance made them."""
    schema = "newton"
    server.run(f"CREATE OR REPLACE DATABASE {schema}")
    server.user(SERVICE_LOGIN, schema, "GRANT ALL ON {schema}.* TO {user}")
    url = f"mysql+pymysql://{SERVICE_LOGIN.name}:{SERVICE_LOGIN.password}@127.0.0.1:{server.port}/{schema}?charset=utf8"
    configuration_file = folder / "newton.conf"
    configuration_file.write_text(f"[database]\nconnection = {url}\n")
    words = [str(manage), "--config-file", str(configuration_file), "db", "upgrade", NEWTON]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"glance-manage db upgrade {NEWTON} ended with {done.returncode}: {done.stderr[-2000:]}")
    dump = [program("mariadb-dump", "mariadb-client"), f"--socket={server.socket}", schema]
    statements = subprocess.run(dump, capture_output=True, check=True).stdout
    server.run("SET foreign_key_checks = 0", f"DROP DATABASE {schema}")
    return statements


def make_newton(server: MariaDB, statements: bytes) -> None:
    """Let the empty schema of the service be one of Newton."""
    load = [program("mariadb", "mariadb-client"), f"--socket={server.socket}", SCHEMA]
    subprocess.run(load, input=statements, check=True, capture_output=True)


def know_ocata(folder: Path, profile: ServiceProfile, monkeypatch: pytest.MonkeyPatch) -> ServiceProfile:
    """Let the small service be Glance, its old release Newton and its new one Ocata, for every step that asks.

    Its template of a configuration lies below ``<folder>/templates``.
    """
    profile = replace(profile, rows_left=ROWS_LEFT)
    monkeypatch.setitem(registry._SERVICES, SERVICE, profile)
    path = folder / "ocata.yaml"
    newton = {"version": OLD, "series": "Newton", "slurp": False, "expanded": NEWTON, "contracted": NEWTON}
    ocata = {"version": NEW, "series": "Ocata", "slurp": False, "expanded": EXPANDED, "contracted": CONTRACTED}
    path.write_text(yaml.safe_dump({"service": SERVICE, "releases": [newton, ocata]}))
    catalogue = load_catalogue(path)
    for module in ("operators.check_database", "operators.database_phase", "triggers.phase_complete"):
        monkeypatch.setattr(f"rolling_upgrade.{module}.load_catalogue", lambda: catalogue)
    template = folder / "templates" / "glance" / f"{SERVICE}-api.conf.j2"
    template.parent.mkdir(parents=True)
    template.write_text(TEMPLATE)
    render = partial(configuration.render, templates=folder / "templates")
    monkeypatch.setattr("rolling_upgrade.operators.database_phase.render", render)
    return profile


@dataclass
class Upgrade:
    """The phases, each by its operator and its wait, on node1. ``services`` holds what the nodes run."""

    site: Site
    database: MariaDB
    monkeypatch: pytest.MonkeyPatch
    templates: Path
    services: ExitStack
    seconds: float = 60.0
    """How long a phase may take."""

    def install(self, manage: Path) -> None:
        """Have the new release's manage command and configuration on the node, as stage_release leaves them."""
        profile, fleet = self.site.profile, self.site.fleet
        (Path(profile.tree(NEW)) / profile.manage).symlink_to(manage)
        path = Path(profile.configuration_file(NEW))
        path.parent.mkdir(parents=True)
        login = configuration.ServiceLogin(
            SERVICE_LOGIN.name, SERVICE_LOGIN.password, "127.0.0.1", self.database.port, SCHEMA
        )
        path.write_text(configuration.render(fleet, fleet.node("node1"), NEW, login, templates=self.templates))

    def serve_on(self, release: str) -> None:
        """Let every node run that release, and nothing else."""
        self.services.close()
        switch(self.site.root, release)
        self.services.enter_context(service(self.site.root, f"releases/{release}", self.site.profile.port))

    def check(self) -> int:
        """Exit status of ``db check`` of Ocata, as the workflow asks for it."""
        with NodeHook.from_connection(self.site.fleet.node("node1")).connected() as node:
            return schema_state(node, self.site.profile, NEW).value

    def begin(self, phase: Phase) -> Record:
        """Run the phase's operator; what it starts goes on by itself."""
        operator = {Phase.EXPAND: ExpandOperator, Phase.MIGRATE: MigrateOperator, Phase.CONTRACT: ContractOperator}
        step = operator[phase](task_id=phase.value, fleet=NAME, node="node1")
        done: Record = step.execute(context(self.site.fleet, **BACKUP))
        return done

    def trigger(self, phase: Phase) -> WaitTrigger:
        """What waits for the phase's end."""
        if phase is Phase.MIGRATE:
            return MigrationCompleteTrigger(fleet=NAME, nodes_from="plan")
        return PhaseCompleteTrigger(fleet=NAME, nodes_from="plan", phase=phase.value)

    def finish(self, phase: Phase) -> Record:
        """Wait as the triggerer does; returns what the wait left behind. Fails the test when it fails the task."""
        (event,) = self._events(phase)
        assert type(event).__name__ == "TaskSuccessEvent", event
        left: Record = event.xcoms["return_value"]
        return left

    def failure(self, phase: Phase) -> str:
        """Wait as the triggerer does, for a task that fails; returns what it said."""
        states(self.monkeypatch, {"wait": "deferred"})
        return failure_of(self._events(phase))

    def run(self, phase: Phase) -> Record:
        self.begin(phase)
        return self.finish(phase)

    def _events(self, phase: Phase) -> list[Any]:
        return events_of(self.trigger(phase), Task(plan(self.site.fleet)), seconds=self.seconds)

    def rows_left(self) -> int:
        return DatabaseHook.of_service(self.site.fleet.database).count(ROWS_LEFT)

    def heads(self) -> tuple[str, ...]:
        return DatabaseHook(self.site.fleet.database).heads()

    def unit(self, phase: Phase) -> Unit:
        return unit(self.site.ssh, self.site.profile.phase_unit(NEW, phase))

    def wait(self) -> Wait:
        return self.site.wait()
