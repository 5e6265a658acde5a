"""A dump is kept only when it was restored and compared: real tools, a real MariaDB, and damage of every kind."""

# ruff: noqa: S608 - every word of these statements is the tests' own

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.operators import backup as operator
from tests.integration.parts.backups import (
    ROWS,
    Backup,
    Tools,
    fingerprint,
    kill,
    manifest_of,
    nothing_was_changed,
    schemas,
)
from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import (
    OPERATOR,
    OPERATOR_GRANTS,
    SCRATCH,
    SCRATCH_GRANT,
    SCRATCH_PRIVILEGES,
    SERVICE,
    MariaDB,
    mariadb,
)
from tests.integration.parts.processes import until
from tests.integration.parts.site import SetConnection

pytestmark = pytest.mark.integration


def test_what_is_written_while_the_dump_is_made_is_not_missed_in_it(small_schema: MariaDB, backup: Backup) -> None:
    """Rows are compared as of the dump, not as they are when it is proven."""
    over = threading.Event()
    written: list[int] = []

    def write() -> None:
        connection = small_schema.connect(SERVICE, SCHEMA)
        try:
            while not over.is_set():
                number = 10_000 + len(written)
                connection.cursor().execute("INSERT INTO images (id, name) VALUES (%s, 'late')", (number,))
                written.append(number)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        record = backup()
    finally:
        over.set()
        writer.join(10)

    rows = manifest_of(record)["contents"]["rows"]
    assert len(written) > 10
    assert ROWS <= rows["images"] < ROWS + len(written)
    assert rows["images"] - ROWS == rows["log"], "of one moment: each row that was written has its line in the log"


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("mariadb-dump", '"$real" "$@" | head -c 20000', "it ends with"),
        ("mariadb-dump", '"$real" "$@" | sed "/^CREATE TABLE .log/,/^)/d"', "it holds 3 of 4 tables"),
        ("mariadb-dump", '"$real" "$@" | sed "/CREATE.*EVENT/d"', "it holds 0 of 1 events"),
        ("mariadb-dump", '"$real" "$1" --databases "${@:2}"', "it names a schema itself"),
        ("mariadb-dump", '"$real" "$@"; exit 3', "mariadb-dump ended with 3"),
        ("mariadb", 'sed "/^(7,/d" | "$real" "$@"', f"images has {ROWS - 1} rows instead of {ROWS}"),
        ("mariadb", 'sed "s/^(.head_a.)/(1)/" | "$real" "$@"', "it is at 1, head_b instead of head_a, head_b"),
        ("mariadb", '{ cat; echo "DROP TRIGGER on_image;"; } | "$real" "$@"', "it has 0 triggers instead of 1"),
        ("mariadb", 'sed "s/TABLE .log. (/TABLE a (/" | "$real" "$@"', "mariadb ended with 1: ERROR 1146"),
        ("mariadb", 'head -c 20000 | "$real" "$@"', "mariadb ended with 1: ERROR 1064"),
        ("mariadb", 'cat >/dev/null', "it lacks 4 tables"),
    ],
)  # fmt: skip
def test_a_dump_that_does_not_restore_to_the_same_is_no_backup(
    small_schema: MariaDB, backup: Backup, tools: Tools, name: str, body: str, why: str
) -> None:
    before = fingerprint(small_schema)
    tools.script(name, f'case "$*" in *--help|*--version) exec "$real" "$@";; esac\n{body}')

    with pytest.raises(VerifyError, match="the backup did not succeed") as caught:
        backup()

    assert why in caught.value.found
    assert "INSERT INTO" not in caught.value.found, "rows are nothing for a log"
    assert "nothing was changed" in caught.value.safe
    nothing_was_changed(small_schema, backup, before)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _scramble(path: Path) -> None:
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)


def _shorten(path: Path) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[: len(lines) // 2])))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_truncate, "it cannot be unpacked"),
        (_scramble, "it cannot be unpacked"),
        (_shorten, "is not what was dumped: "),
        (lambda path: path.write_bytes(b"no dump"), "it cannot be unpacked: Not a gzipped file"),
    ],
    ids=["truncated", "scrambled", "shortened", "not packed"],
)
def test_what_the_disk_made_of_a_dump_is_seen(
    small_schema: MariaDB, backup: Backup, monkeypatch: pytest.MonkeyPatch, damage: Any, why: str
) -> None:
    """The dump was written well; what is read again is not that."""
    dump, before = operator._dump, fingerprint(small_schema)

    def dump_and_damage(*arguments: Any) -> Any:
        manifest = dump(*arguments)
        (partial,) = backup.folder.glob("*.partial")
        damage(partial)
        return manifest

    monkeypatch.setattr(operator, "_dump", dump_and_damage)
    with pytest.raises(VerifyError, match="the backup did not succeed: the dump, restored into") as caught:
        backup()

    assert why in caught.value.found
    nothing_was_changed(small_schema, backup, before)


def test_a_scratch_schema_of_somebody_else_is_not_touched(small_schema: MariaDB, backup: Backup) -> None:
    small_schema.run(f"CREATE DATABASE {SCRATCH}", f"CREATE TABLE {SCRATCH}.precious (id INT)")
    before = fingerprint(small_schema), fingerprint(small_schema, SCRATCH)

    with pytest.raises(
        PrecheckError, match=f"schema {SCRATCH} is there and is not one that a proof of glance"
    ) as caught:
        backup()

    assert "choose another backup.scratch_schema" in caught.value.next_step
    assert (fingerprint(small_schema), fingerprint(small_schema, SCRATCH)) == before
    assert backup.files() == []


def test_the_scratch_schema_of_another_database_is_not_touched(small_schema: MariaDB, backup: Backup) -> None:
    small_schema.run(
        f"CREATE DATABASE {SCRATCH}",
        f"CREATE TABLE {SCRATCH}.rolling_upgrade_scratch (of VARCHAR(64) NOT NULL)",
        f"INSERT INTO {SCRATCH}.rolling_upgrade_scratch VALUES ('cinder')",
    )

    with pytest.raises(PrecheckError, match=f"schema {SCRATCH} is there and is not one that a proof of glance"):
        backup()

    assert small_schema.run(f"SELECT of FROM {SCRATCH}.rolling_upgrade_scratch") == [("cinder",)]
    assert backup.files() == []


@pytest.mark.parametrize("marked", [False, True])
def test_a_scratch_schema_that_was_only_begun_is_taken(small_schema: MariaDB, backup: Backup, marked: bool) -> None:
    """A kill between two statements leaves it empty, or with a mark that is not signed."""
    small_schema.run(f"CREATE DATABASE {SCRATCH}")
    if marked:
        small_schema.run(f"CREATE TABLE {SCRATCH}.rolling_upgrade_scratch (of VARCHAR(64) NOT NULL)")

    assert backup()["changed"] is True
    assert SCRATCH not in schemas(small_schema)


def test_what_a_kill_leaves_behind_is_gone_after_the_next_try(
    small_schema: MariaDB, backup: Backup, tools: Tools
) -> None:
    before = fingerprint(small_schema)
    waiting = tools.held("mariadb")
    with backup.elsewhere() as step:
        until(waiting.exists, "the restore to begin")
        kill(step)
    assert SCRATCH in schemas(small_schema), "the kill came in time"
    (left,) = backup.files()
    assert left.endswith(".partial")
    tools.free("mariadb")

    record = backup()

    assert record["changed"] is True
    assert backup.dumps() == [Path(record["path"]).name]
    assert left not in backup.files()
    assert SCRATCH not in schemas(small_schema)
    assert fingerprint(small_schema) == before


# MariaDB does not ask for REFERENCES, which MySQL does.
@pytest.mark.parametrize("missing", [name for name in SCRATCH_PRIVILEGES if name != "REFERENCES"])
def test_a_login_that_lacks_a_grant_on_the_scratch_schema_is_told_so(
    small_schema: MariaDB, backup: Backup, missing: str
) -> None:
    before = fingerprint(small_schema)
    scratch = SCRATCH_GRANT.format(privileges=", ".join(name for name in SCRATCH_PRIVILEGES if name != missing))
    small_schema.user(OPERATOR, SCHEMA, *OPERATOR_GRANTS[:-1], scratch)

    with pytest.raises((UnreachableError, VerifyError), match="denied") as caught:
        backup()

    assert SCRATCH in caught.value.found
    assert "grants" in caught.value.next_step
    # Where it may not drop it either, the empty schema stays, and the next try takes it.
    small_schema.run(*([f"DROP DATABASE IF EXISTS {SCRATCH}"] if missing == "DROP" else []), "SELECT 1")
    nothing_was_changed(small_schema, backup, before)


def test_a_routine_of_another_character_set_does_not_change_the_schema_that_serves(
    small_schema: MariaDB, backup: Backup
) -> None:
    """Around such a routine the dump holds ALTER DATABASE, by the name of the schema that was dumped.

    The login may not do that there: that the dump restores shows that it was not tried.
    """
    small_schema.run(
        f"ALTER DATABASE {SCHEMA} CHARACTER SET latin1",
        f"CREATE PROCEDURE {SCHEMA}.old_routine() DO 1",
        f"ALTER DATABASE {SCHEMA} CHARACTER SET utf8mb4",
    )

    record = backup()

    text = gzip.decompress(Path(record["path"]).read_bytes())
    assert b"ALTER DATABASE `glance` CHARACTER SET latin1" in text, "the dump holds what this is about"
    assert manifest_of(record)["contents"]["stored"]["routines"] == 2
    assert "utf8mb4" in small_schema.run("SHOW CREATE DATABASE glance")[0][1]


def test_a_trigger_that_was_made_by_its_full_name_is_proven_too(small_schema: MariaDB, backup: Backup) -> None:
    small_schema.run(
        f"CREATE TRIGGER {SCHEMA}.named BEFORE INSERT ON `{SCHEMA}` . `log` FOR EACH ROW SET NEW.id = NEW.id"
    )
    before = fingerprint(small_schema)

    known = manifest_of(backup())

    assert known["contents"]["stored"]["triggers"] == 2
    assert fingerprint(small_schema) == before


def test_no_event_runs_in_the_scratch_schema(small_schema: MariaDB, backup: Backup, tools: Tools) -> None:
    small_schema.run(f"CREATE EVENT {SCHEMA}.often ON SCHEDULE EVERY 1 SECOND DO INSERT INTO log VALUES (1)")
    seen = tools.folder / "events"
    tools.script(
        "mariadb",
        f'"$real" "$@" || exit 1\n"$real" "$1" -BN -e "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS '
        f"WHERE EVENT_SCHEMA = '{SCRATCH}' ORDER BY 1\" > {seen}",
    )

    backup()

    assert seen.read_text().split() == ["nightly", "DISABLED", "often", "DISABLED"]


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A server with a binary log."""
    with mariadb(tmp_path_factory.mktemp("binlog"), "--log-bin=binlog", "--server-id=1") as server:
        yield server


@pytest.fixture
def logging(
    logging_server: MariaDB, backup: Backup, set_connection: SetConnection, request: pytest.FixtureRequest
) -> MariaDB:
    """A schema on it, and a login with these further grants."""
    server = logging_server
    server.run(f"CREATE OR REPLACE DATABASE {SCHEMA}", f"CREATE TABLE {SCHEMA}.images (id INT PRIMARY KEY)")
    server.run(f"INSERT INTO {SCHEMA}.images VALUES (1), (2)", "DROP DATABASE IF EXISTS rolling_upgrade")
    further = [f"GRANT {grant} ON *.* TO {{user}}" for grant in getattr(request, "param", ())]
    server.user(OPERATOR, SCHEMA, *OPERATOR_GRANTS, *further)
    server.user(SERVICE, SCHEMA, "GRANT ALL ON {schema}.* TO {user}")
    set_connection("it_database", server.connection(OPERATOR))
    set_connection("it_service_database", server.connection(SERVICE))
    return server


@pytest.mark.parametrize("logging", [("BINLOG ADMIN",)], indirect=True)
def test_the_position_of_the_binary_log_stands_beside_the_dump(logging: MariaDB, backup: Backup) -> None:
    known = manifest_of(backup())

    # Nothing was written to it since: replicas are not given the scratch schema.
    file, offset = logging.run("SHOW MASTER STATUS")[0][:2]
    gtid = logging.run("SELECT @@gtid_binlog_pos")[0][0]
    assert known["position"] == {"file": file, "offset": str(offset), "gtid": gtid}
    assert known["no_position"] == ""


def test_a_login_that_may_not_see_the_position_says_so(logging: MariaDB, backup: Backup, tools: Tools) -> None:
    """MariaDB shows it to everybody; MySQL's tool says this where the login may not lock all tables."""
    tools.script(
        "mariadb-dump",
        "case \"$*\" in *--master-data=2*) echo \"mysqldump: Couldn't execute 'FLUSH TABLES': Access denied; you need "
        '(at least one of) the RELOAD privilege(s) for this operation (1227)" >&2; exit 2;; esac; exec "$real" "$@"',
    )

    known = manifest_of(backup())

    assert known["position"] == {}
    assert "the login may not see it: " in known["no_position"]
    assert "RELOAD" in known["no_position"]
    assert known["contents"]["rows"] == {"images": 2}


def test_a_trigger_that_the_login_may_not_make_beside_a_binary_log_ends_the_step(
    logging: MariaDB, backup: Backup
) -> None:
    logging.run("CREATE TRIGGER t BEFORE INSERT ON images FOR EACH ROW SET NEW.id = NEW.id", schema=SCHEMA)
    before = fingerprint(logging)

    with pytest.raises(VerifyError, match=r"ERROR 1419.*log_bin_trust_function_creators") as caught:
        backup()

    assert "grants" in caught.value.next_step
    nothing_was_changed(logging, backup, before)
    logging.run("SET GLOBAL log_bin_trust_function_creators = 1")
    try:
        assert backup()["changed"] is True
    finally:
        logging.run("SET GLOBAL log_bin_trust_function_creators = 0")
