"""``python -m rolling_upgrade.restore``: a real dump brings back a schema that was damaged, or nothing is touched."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rolling_upgrade import restore
from rolling_upgrade.hooks.dump_lock import dump_lock
from tests.integration.parts.backups import ROWS, Backup, Tools, fingerprint, schemas
from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import SCRATCH, SERVICE, Login, MariaDB
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import ADDRESSES, Sshd

pytestmark = pytest.mark.integration

RESTORER = Login("restorer", "r3store \"it'\\#")
GRANTS = (
    "GRANT ALL ON {schema}.* TO {user}",
    f"GRANT ALL ON {SCRATCH}.* TO {{user}}",
    "GRANT PROCESS, SET USER ON *.* TO {user}",
)
ROOT = Path(__file__).resolve().parents[2]
DAMAGE = (
    "DELETE FROM images WHERE id > 10",
    "UPDATE images SET name = 'wrong'",
    "DROP TABLE log",
    "DROP TRIGGER on_image",
    "ALTER TABLE images ADD COLUMN visibility INT",
    "CREATE TABLE left_over (id INT)",
    "UPDATE alembic_version SET version_num = 'half' WHERE version_num = 'head_a'",
)

Restore = Callable[..., int]


@pytest.fixture
def dump(small_schema: MariaDB, backup: Backup, set_connection: SetConnection) -> Path:
    """A dump of the small schema, and a login that may restore it."""
    small_schema.user(RESTORER, SCHEMA, *GRANTS)
    set_connection("it_restore", small_schema.connection(RESTORER))
    return Path(backup()["path"])


def command(dump: Path, *options: str) -> int:
    return restore.main([str(dump), "--connection", "it_restore", *options])


def test_a_damaged_schema_is_what_it_was(small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprint(small_schema)
    small_schema.run(*DAMAGE, schema=SCHEMA)
    assert fingerprint(small_schema) != before

    assert command(dump, "--yes") == 0

    assert fingerprint(small_schema) == before
    assert SCRATCH not in schemas(small_schema)
    said = capsys.readouterr().out
    assert f"{ROWS + 5} rows in 4 tables, at head_a, head_b; whole, by its checksum" in said
    assert "tried in glance_restore_check: it is what was dumped." in said
    assert "start on every node the release that belongs to it" in said
    assert RESTORER.password not in said


def test_the_whole_schema_may_be_gone(small_schema: MariaDB, dump: Path) -> None:
    before = fingerprint(small_schema)
    small_schema.run(f"DROP DATABASE {SCHEMA}")

    assert command(dump, "--yes") == 0

    assert fingerprint(small_schema) == before


def test_it_goes_into_another_schema_that_is_not_there(small_schema: MariaDB, dump: Path) -> None:
    before = fingerprint(small_schema)
    small_schema.run("GRANT ALL ON `copy%`.* TO 'restorer'@'%'", "DROP DATABASE IF EXISTS copy")

    assert command(dump, "--into", "copy", "--yes") == 0

    restored = fingerprint(small_schema, "copy")
    assert {name: restored[name] for name in ("images", "log")} == {name: before[name] for name in ("images", "log")}
    assert fingerprint(small_schema) == before
    small_schema.run("DROP DATABASE copy")


def test_a_dump_on_another_host_is_fetched_from_there(
    small_schema: MariaDB, dump: Path, reachable_nodes: Sshd, set_connection: SetConnection
) -> None:
    before = fingerprint(small_schema)
    set_connection("it_database_host", reachable_nodes.connection(ADDRESSES[2]))
    small_schema.run(*DAMAGE, schema=SCHEMA)

    assert command(dump, "--host", "it_database_host", "--yes") == 0

    assert fingerprint(small_schema) == before


def refused(
    database: MariaDB, capsys: pytest.CaptureFixture[str], dump: Path, *options: str, scratch: bool = False
) -> str:
    """What the command said when it refused; the damaged schema is as damaged as it was."""
    before = fingerprint(database)

    assert command(dump, *options) == 1

    assert fingerprint(database) == before
    assert (SCRATCH in schemas(database)) is scratch
    said = capsys.readouterr()
    assert "nothing was changed" in said.err
    return said.out + said.err


def test_it_is_refused_while_the_service_is_connected(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(small_schema)
    small_schema.run(*DAMAGE, schema=SCHEMA)
    service = small_schema.connect(SERVICE, SCHEMA)
    try:
        said = refused(small_schema, capsys, dump, "--yes")
        assert re.search(r"1 sessions are connected to glance: glance from 127\.0\.0\.1:\d+ \(session \d+\)", said)
        assert "tried in" not in said, "it is said at once"

        assert command(dump, "--yes", "--despite-sessions") == 0
    finally:
        service.close()
    assert fingerprint(small_schema) == before


def test_a_service_that_connects_meanwhile_is_seen_too(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial takes time."""
    sessions = []
    tried = restore._try_first

    def connect_meanwhile(*arguments: object) -> None:
        tried(*arguments)  # type: ignore[arg-type]
        sessions.append(small_schema.connect(SERVICE, SCHEMA))

    monkeypatch.setattr(restore, "_try_first", connect_meanwhile)
    try:
        assert "1 sessions are connected" in refused(small_schema, capsys, dump, "--yes")
    finally:
        for session in sessions:
            session.close()


def test_a_login_that_cannot_see_sessions_is_refused(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_schema.user(RESTORER, SCHEMA, *GRANTS[:2])

    assert "GRANT PROCESS" in refused(small_schema, capsys, dump, "--yes")


def test_a_login_that_cannot_restore_everything_is_found_out_before(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_schema.user(RESTORER, SCHEMA, *GRANTS[:2], "GRANT PROCESS ON *.* TO {user}")

    said = refused(small_schema, capsys, dump, "--yes")

    assert "tried in glance_restore_check, is not what was dumped: mariadb ended with 1: ERROR 1227" in said
    assert "SET USER" in said


def test_nobody_is_asked_where_nobody_can_answer(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nobody said yes" in refused(small_schema, capsys, dump)


@pytest.mark.parametrize(("typed", "status"), [("glance\n", 0), ("yes\n", 1)])
def test_a_person_types_the_name_of_what_is_replaced(
    small_schema: MariaDB, dump: Path, monkeypatch: pytest.MonkeyPatch, typed: str, status: int
) -> None:
    before = fingerprint(small_schema)
    small_schema.run(*DAMAGE, schema=SCHEMA)
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(keyboard, "w") as hands:
        monkeypatch.setattr(sys, "stdin", stdin)
        hands.write(typed)
        hands.flush()

        assert command(dump) == status

    assert (fingerprint(small_schema) == before) is (status == 0)


def _flip(dump: Path) -> None:
    packed = bytearray(dump.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    dump.write_bytes(packed)


def _sign(dump: Path, text: bytes) -> None:
    """Replace the dump and correct its checksum."""
    dump.write_bytes(gzip.compress(text))
    beside = Path(f"{dump}.json")
    known = json.loads(beside.read_text())
    beside.write_text(json.dumps(known | {"sha256": hashlib.sha256(dump.read_bytes()).hexdigest()}))


def _name_a_schema(dump: Path) -> None:
    _sign(dump, b"USE `mysql`;\n" + gzip.decompress(dump.read_bytes()))


def _lose_a_row(dump: Path) -> None:
    _sign(dump, re.sub(rb"\n\(7,[^\n]*", b"", gzip.decompress(dump.read_bytes())))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_flip, "is not a dump to restore: its SHA-256 is "),
        (lambda dump: dump.write_bytes(dump.read_bytes()[:-10]), "is not a dump to restore: its SHA-256 is "),
        (lambda dump: Path(f"{dump}.json").unlink(), "is not a dump to restore: "),
        (lambda dump: Path(f"{dump}.json").write_text("{}"), "is not a dump to restore: no description of a dump"),
        (lambda dump: dump.unlink(), "is not a dump to restore: "),
        (_name_a_schema, "it names schemas itself"),
        (_lose_a_row, f"is not what was dumped: images has {ROWS - 1} rows instead of {ROWS}"),
    ],
    ids=["flipped", "truncated", "nothing beside it", "nothing known", "gone", "names a schema", "lacks a row"],
)
def test_a_dump_that_is_not_what_it_was_is_refused(
    small_schema: MariaDB,
    dump: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    why: str,
) -> None:
    small_schema.run(*DAMAGE, schema=SCHEMA)
    damage(dump)

    assert why in refused(small_schema, capsys, dump, "--yes")


def test_another_schema_that_is_there_is_not_replaced(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_schema.run(
        "GRANT ALL ON `copy%`.* TO 'restorer'@'%'", "CREATE OR REPLACE DATABASE copy", "CREATE TABLE copy.mine (id INT)"
    )

    assert "schema copy is there" in refused(small_schema, capsys, dump, "--into", "copy", "--yes")
    assert small_schema.run("SHOW TABLES IN copy") == [("mine",)]
    small_schema.run("DROP DATABASE copy")


def test_a_scratch_schema_of_somebody_else_is_not_touched(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_schema.run(f"CREATE DATABASE {SCRATCH}", f"CREATE TABLE {SCRATCH}.mine (id INT)")

    assert f"schema {SCRATCH} is there" in refused(small_schema, capsys, dump, "--yes", scratch=True)
    assert small_schema.run(f"SHOW TABLES IN {SCRATCH}") == [("mine",)]


def test_the_scratch_schema_cannot_be_the_schema(
    small_schema: MariaDB, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "do not do" in refused(small_schema, capsys, dump, "--scratch", SCHEMA, "--yes")


def test_it_is_refused_while_a_dump_or_a_phase_begins(
    small_schema: MariaDB, backup: Backup, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(small_schema)
    with dump_lock(backup.fleet.database):
        assert command(dump, "--yes") == 1
    assert "is under way: session" in capsys.readouterr().err
    assert fingerprint(small_schema) == before


def test_a_restore_that_breaks_half_way_says_what_is_not_to_be_used(
    small_schema: MariaDB, dump: Path, tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.script(
        "mariadb", 'case "$*" in *--database=glance) head -c 20000 | "$real" "$@";; *) exec "$real" "$@";; esac'
    )

    assert command(dump, "--yes") == 1

    said = capsys.readouterr().err
    assert "glance is not what was dumped: mariadb ended with 1" in said
    assert "the schema is not to be used as it is now" in said
    tools.free("mariadb")
    before = set(fingerprint(small_schema))
    assert command(dump, "--yes") == 0
    assert before < set(fingerprint(small_schema))


def test_the_page_for_the_bad_day_says_what_works(
    small_schema: MariaDB, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements make a login, and its command restores with it, as they stand there."""
    page = (ROOT / "docs" / "recovery.md").read_text()
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL))
    small_schema.run("DROP USER IF EXISTS restorer")
    small_schema.run(*[line for line in blocks["sql"].split(";\n") if line.strip()])
    monkeypatch.setenv("AIRFLOW_CONN_RESTORER", f"mysql://restorer:a-long-password@127.0.0.1:{small_schema.port}/")
    before = fingerprint(small_schema)
    small_schema.run(*DAMAGE, schema=SCHEMA)
    shown = re.search(r"python -m (rolling_upgrade\.restore) \S+\.sql\.gz (.*)", blocks["sh"])
    assert shown is not None

    done = subprocess.run(
        [sys.executable, "-m", shown[1], str(dump), *shown[2].split(), "--yes"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": "plugins"}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert fingerprint(small_schema) == before
    assert done.stdout.count("\n") == 8, done.stdout
