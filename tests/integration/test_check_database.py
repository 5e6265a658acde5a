"""What is refused before expand, on a real MariaDB: each with its reason and remedy, and nothing was changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.fleet.catalogue import Catalogue, Release
from rolling_upgrade.operators.check_database import CheckDatabaseOperator
from tests.integration.parts.fleets import NAME, NEW, OLD, SCHEMA, context, plan
from tests.integration.parts.mariadb import SERVICE, MariaDB, mariadb
from tests.integration.parts.processes import free_port, running, until
from tests.integration.parts.schema_world import SchemaWorld
from tests.integration.parts.site import SetConnection

pytestmark = pytest.mark.integration

Break = Callable[[SchemaWorld], None]


@pytest.fixture
def world(before_expand: SchemaWorld) -> SchemaWorld:
    return before_expand


def sql(*statements: str) -> Break:
    def run(world: SchemaWorld) -> None:
        world.database.run(*statements, schema=SCHEMA)

    return run


def grants(*wanted: str) -> Break:
    return lambda world: world.database.user(SERVICE, SCHEMA, *wanted)


def at(*revisions: str) -> Break:
    return lambda world: world.database.at(*revisions)


def configured(release: str, line: str) -> Break:
    def add(world: SchemaWorld) -> None:
        with world.configuration(release).open("a") as file:
            file.write(f"{line}\n")

    return add


def unit(line: str) -> Break:
    return lambda world: world.ssh.units("127.0.0.2", line)


REFUSED: dict[str, tuple[Break, str, str]] = {
    "no TRIGGER": (
        grants("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON {schema}.* TO {user}"),
        "glance@%, with which the service logs in, has no TRIGGER on glance",
        "`GRANT TRIGGER ON `glance`.* TO 'glance'@'%';`",
    ),
    "only reads and writes": (
        grants("GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.* TO {user}"),
        "has no CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER on glance",
        "`GRANT CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER ON `glance`.* TO 'glance'@'%';`",
    ),
    "all on single tables": (
        grants("GRANT ALL ON {schema}.images TO {user}", "GRANT SELECT ON {schema}.* TO {user}"),
        "has no INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER on glance",
        "GRANT INSERT",
    ),
    "older schema": (
        at("zero_contract"),
        r"the schema is at zero_contract, and node1, node2, node3 runs 1.0.0, which needs one_contract",
        "database.connection and database.name of the fleet file",
    ),
    "no revision": (at(), "the schema is at no revision", "database.connection and database.name"),
    "visibility never migrated": (
        sql("INSERT INTO images VALUES ('three', NULL), ('four', NULL)"),
        "the data migration of Ocata was never run: 2 rows of images have no visibility",
        "`glance-manage db migrate` of Ocata",
    ),
    "is_public still there": (
        sql("ALTER TABLE images ADD is_public TINYINT"),
        "the data migration of Ocata was never run: images.is_public is still there",
        "finish the upgrade to Ocata",
    ),
    "backend never renamed": (
        sql("""INSERT INTO image_locations VALUES (NULL, 'one', '{"backend": "file"}')"""),
        "the data migration of Train was never run: 1 rows of image_locations name their store as backend",
        "UPDATE image_locations SET meta_data",
    ),
    "API v1 where it runs": (
        configured(OLD, "enable_v1_api = true"),
        "node1 is configured for Images API v1 or the Registry: enable_v1_api = true",
        "take these options out of the configuration of node1",
    ),
    "API v1 in the new configuration": (
        configured(NEW, "  Enable_V1_API: on"),
        "node1 is configured for Images API v1 or the Registry: Enable_V1_API = on",
        "take these options out",
    ),
    "Registry's API": (configured(OLD, "enable_v1_registry=True"), "enable_v1_registry = True", "take these"),
    "Registry's host": (configured(OLD, "registry_host=10.0.0.1"), "registry_host = 10.0.0.1", "take these"),
    "data over the Registry": (
        configured(OLD, "data_api = glance.db.registry.api"),
        "data_api = glance.db.registry.api",
        "take these",
    ),
    "Registry's unit": (
        unit("small-registry.service loaded active running"),
        "node2 runs the Registry: small-registry.service",
        "stop and disable it on node2",
    ),
    "upgrade check fails": (
        lambda world: world.upgrade_check(2),
        "the upgrade check of 2.0.0 on node1 has a failure: upgrade check as told",
        "mend what it names",
    ),
    "upgrade check errs": (
        lambda world: world.upgrade_check(255),
        "the upgrade check of 2.0.0 on node1 could not be made, it ended with 255: upgrade check as told",
        "clear stage_release",
    ),
}
ASKED_BY_CHECK_ALONE = ("upgrade check fails", "upgrade check errs")


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_its_remedy_and_nothing_was_changed(world: SchemaWorld, case: str) -> None:
    breaks, found, remedy = REFUSED[case]
    breaks(world)
    before = world.state()

    with pytest.raises(PrecheckError) as caught:
        world.check()

    assert caught.value.found.startswith("expand must not begin: ")
    assert found in caught.value.found
    assert remedy in caught.value.next_step
    assert caught.value.next_step.endswith("; then clear this task.")
    assert "nothing was changed; every node serves as before" in caught.value.safe
    assert world.state() == before
    assert world.ssh.told == []


@pytest.mark.parametrize("case", [case for case in REFUSED if case not in ASKED_BY_CHECK_ALONE])
def test_expand_asks_again_right_before_it_begins(world: SchemaWorld, case: str) -> None:
    breaks, found, _ = REFUSED[case]
    world.check()
    breaks(world)
    before = world.state()

    with pytest.raises(PrecheckError) as caught:
        world.expand()

    assert found in caught.value.found
    assert "the schema was not changed" in caught.value.safe
    assert world.state() == before
    assert world.ssh.told == []


def test_what_is_fit_is_let_through_and_nothing_was_changed(world: SchemaWorld) -> None:
    before = world.state()

    said = world.check()

    assert (said["changed"], said["heads"], said["upgrade_check"]) == (False, ["one_contract"], 0)
    assert said["server"] == world.database.run("SELECT VERSION()")[0][0]
    assert world.state() == before
    tree = world.profile.tree(NEW)
    assert world.upgrade_checks == [f"{tree}/bin/status --config-file {tree}/etc/service.conf upgrade check"]


def test_everything_that_stands_against_it_is_told_at_once(world: SchemaWorld) -> None:
    for case in ("no TRIGGER", "visibility never migrated", "API v1 where it runs", "upgrade check fails"):
        REFUSED[case][0](world)

    with pytest.raises(PrecheckError) as caught:
        world.check()

    for part in ("has no TRIGGER", "2 rows of images", "enable_v1_api", "has a failure"):
        assert part in caught.value.found


@pytest.mark.parametrize(
    "line",
    ["# enable_v1_api = true", "enable_v1_api = false", "data_api = glance.db.sqlalchemy.api", "my_registry_host=x"],
)
def test_options_that_turn_nothing_on_are_no_obstacle(world: SchemaWorld, line: str) -> None:
    configured(OLD, line)(world)

    assert world.check()["changed"] is False


def test_only_the_lines_that_were_asked_for_leave_a_node(world: SchemaWorld) -> None:
    configured(OLD, "connection = mysql://glance:s3cret@db/glance\nenable_v1_api = true")(world)

    with pytest.raises(PrecheckError, match="enable_v1_api") as caught:
        world.check()

    assert "s3cret" not in str(caught.value)


def test_a_registry_that_runs_is_found_by_its_process(world: SchemaWorld, tmp_path: Path) -> None:
    program = tmp_path / "small-registry"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    program.chmod(0o755)
    with running([str(program)], tmp_path / "registry.log") as started:
        until(lambda: "setpriv" not in Path(f"/proc/{started.pid}/cmdline").read_text(), "the Registry")
        with pytest.raises(PrecheckError, match=rf"node1 runs the Registry: small-registry \(pid {started.pid}\)"):
            world.check()


def test_warnings_of_the_upgrade_check_are_logged_and_let_through(
    world: SchemaWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.upgrade_check(1)

    assert world.check()["upgrade_check"] == 1
    assert "[warning  ] upgrade check as told" in capsys.readouterr().out


def test_a_release_that_is_not_staged_cannot_be_asked(world: SchemaWorld) -> None:
    (Path(world.profile.tree(NEW)) / "bin" / "status").unlink()

    with pytest.raises(PrecheckError, match="could not be made, it ended with 127"):
        world.check()


def test_a_jump_over_a_release_is_refused(world: SchemaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def release(version: str, name: str) -> Release:
        return Release(
            version=version, series=name, slurp=True, expanded=f"{name}_expand", contracted=f"{name}_contract"
        )

    far = Catalogue(service="small", releases=(release(OLD, "one"), release("4.0.0", "four")))
    for module in ("check_database", "database_phase"):
        monkeypatch.setattr(f"rolling_upgrade.operators.{module}.load_catalogue", lambda: far)
    Path(world.profile.tree(NEW)).rename(world.profile.tree("4.0.0"))
    asked = context(world.fleet)
    asked["ti"].xcoms["plan", "plan"] = replace(plan(world.fleet), target_release="4.0.0").to_dict()
    before = world.state()

    with pytest.raises(PrecheckError, match=r"node2 runs 1\.0\.0: 1\.0\.0 \(one\) to 4\.0\.0 \(four\) skips a release"):
        CheckDatabaseOperator(task_id="check_database", fleet=NAME, node="node1").execute(asked)

    assert world.state() == before


def test_a_node_that_cannot_be_asked_is_no_yes(world: SchemaWorld, set_connection: SetConnection) -> None:
    set_connection("it_node3", {**world.ssh.connection(), "port": free_port()})

    with pytest.raises(UnreachableError, match="node node3"):
        world.check()


def test_a_silent_node_that_the_run_leaves_alone_is_no_obstacle_once_expanded(
    world: SchemaWorld, set_connection: SetConnection
) -> None:
    set_connection("it_node3", {**world.ssh.connection(), "port": free_port()})
    asked = context(world.fleet)
    asked["ti"].xcoms["plan", "plan"] = replace(plan(world.fleet), nodes=("node1", "node2")).to_dict()
    check = CheckDatabaseOperator(task_id="check_database", fleet=NAME, node="node1")

    with pytest.raises(UnreachableError, match="node node3"):
        check.execute(asked)
    world.database.at("one_contract", "two_expand")
    assert check.execute(asked)["changed"] is False
    asked["ti"].xcoms["plan", "plan"] = plan(world.fleet).to_dict()
    with pytest.raises(UnreachableError, match="node node3"):
        check.execute(asked)


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """One that says it is of a version before the oldest that is supported."""
    with mariadb(tmp_path_factory.mktemp("old"), "--skip-log-bin", "--version=5.1.73-MariaDB") as server:
        yield server


def test_a_server_that_is_too_old_is_refused(
    world: SchemaWorld, old_server: MariaDB, set_connection: SetConnection
) -> None:
    set_connection("it_service_database", {**world.database.connection(SERVICE), "port": old_server.port})
    old_server.run(f"CREATE OR REPLACE DATABASE {SCHEMA}")
    old_server.user(SERVICE, SCHEMA, "GRANT ALL ON {schema}.* TO {user}")
    before = world.state()

    with pytest.raises(PrecheckError, match=r"the database server is 5\.1\.73-MariaDB, and 5\.5 is the oldest"):
        world.check()
    with pytest.raises(PrecheckError, match="the oldest that is supported") as caught:
        world.expand()

    assert "bring the server to a supported version" in caught.value.next_step
    assert world.state() == before
