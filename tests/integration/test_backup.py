"""BackupDatabaseOperator with the real dump tool and a real MariaDB."""

from __future__ import annotations

import gzip
import hashlib
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, UnreachableError, VerifyError
from tests.integration.parts.backups import ROWS, SMALL_ROWS, STORED, Backup, fingerprint, manifest_of, schemas
from tests.integration.parts.fleets import NAME, RUN, SCHEMA
from tests.integration.parts.mariadb import CLAIMS_GRANT, OPERATOR, SCRATCH, Login, MariaDB
from tests.integration.parts.processes import free_port, program
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import ADDRESSES, Sshd

pytestmark = pytest.mark.integration

SCRATCH_ALL = f"GRANT ALL ON {SCRATCH}.* TO {{user}}"


def restore(database: MariaDB, path: Path, schema: str) -> None:
    database.run(f"CREATE OR REPLACE DATABASE {schema}")
    command = [program("mariadb", "mariadb-client"), "--no-defaults", f"--socket={database.socket}"]
    subprocess.run([*command, schema], input=gzip.decompress(path.read_bytes()), check=True, capture_output=True)


def counts(database: MariaDB, schema: str) -> dict[str, int]:
    """How many of each thing a schema holds."""
    tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA = %s"
    statements = {
        "tables": tables,
        "triggers": "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s",
        "routines": "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
        "events": "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s",
        "views": "SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s",
    }
    connection = database.connect()
    try:
        cursor = connection.cursor()
        found = {}
        for what, statement in statements.items():
            cursor.execute(statement, (schema,))
            found[what] = int(cursor.fetchone()[0])
        return found
    finally:
        connection.close()


def test_the_dump_holds_everything_and_can_be_restored(small_schema: MariaDB, backup: Backup) -> None:
    before = fingerprint(small_schema)

    record = backup()

    path = Path(record["path"])
    assert fingerprint(small_schema) == before
    assert SCRATCH not in schemas(small_schema)
    assert record["changed"] is True
    assert backup.files() == [path.name, f"{path.name}.json", f"{path.name}.sha256"]
    assert path.name.startswith("glance-2")
    assert path.name.endswith("Z-manual-2030-01-01T00-00-00-00-00.sql.gz")
    assert path.stat().st_mode & 0o777 == 0o600
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Path(f"{path}.sha256").read_text() == f"{record['sha256']}  {path.name}\n"

    restore(small_schema, path, "restored")
    kept = small_schema.run("SELECT id, name, HEX(data) FROM restored.images WHERE id < 3 ORDER BY id")
    assert kept == [(1, "Grüße 1", "00FF27"), (2, "Grüße 2", "00FF27")]
    assert counts(small_schema, "restored") == {"tables": 4, **STORED}
    sums = small_schema.run(f"CHECKSUM TABLE restored.images, {SCHEMA}.images")
    assert sums[0][1] == sums[1][1]


def test_beside_the_dump_stands_what_is_known_of_it(small_schema: MariaDB, backup: Backup) -> None:
    record = backup()

    known = manifest_of(record)
    assert known["contents"] == {"heads": ["head_a", "head_b"], "rows": SMALL_ROWS, "stored": STORED}
    assert (known["bytes"], known["sha256"]) == (Path(record["path"]).stat().st_size, record["sha256"])
    assert known["begun"] <= known["ended"] <= known["proven"]
    assert (known["begun"], known["proven"]) == (record["begun"], record["proven"])
    assert (known["fleet"], known["database"], known["run"]["run_id"]) == (NAME, SCHEMA, RUN)
    assert known["server_version"] == small_schema.run("SELECT VERSION()")[0][0]
    assert known["tool"].startswith("mariadb-dump ")
    assert (known["position"], known["no_position"]) == ({}, "the server's binary log is off")
    assert (record["rows"], record["heads"]) == (ROWS + 5, ["head_a", "head_b"])


def test_a_second_run_finds_the_dump_and_leaves_it(small_schema: MariaDB, backup: Backup) -> None:
    path = Path(backup()["path"])
    before = path.stat()
    small_schema.run("DELETE FROM images", schema=SCHEMA)

    record = backup()

    assert record["changed"] is False
    assert record["path"] == str(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_truncated_dump_is_made_again(small_schema: MariaDB, backup: Backup) -> None:
    path = Path(backup()["path"])
    path.write_bytes(path.read_bytes()[:-20])

    record = backup()

    assert record["changed"] is True
    assert gzip.decompress(Path(record["path"]).read_bytes()).rstrip().splitlines()[-1].startswith(b"-- Dump completed")
    assert backup()["changed"] is False


def test_a_login_without_the_grants_leaves_no_file(
    small_schema: MariaDB, backup: Backup, set_connection: SetConnection
) -> None:
    weak = Login("weak", "weak-password")
    small_schema.user(weak, SCHEMA, CLAIMS_GRANT, SCRATCH_ALL, "GRANT INSERT ON {schema}.* TO {user}")
    set_connection("it_database", small_schema.connection(weak))

    with pytest.raises(VerifyError, match="the backup did not succeed: mariadb-dump ended with 2") as caught:
        backup()

    assert "denied" in caught.value.found
    assert backup.files() == []


@pytest.mark.parametrize(
    "missing",
    [
        "TRIGGER",
        "EVENT",
        "LOCK TABLES",
        "SHOW VIEW",
        "mysql.proc",
    ],
)
def test_a_dump_that_would_lack_something_is_no_dump(
    small_schema: MariaDB, backup: Backup, set_connection: SetConnection, missing: str
) -> None:
    """``mariadb-dump`` leaves out what its login may not see; where it also ends with 0, nobody would ever know."""
    grants = ["SELECT", "TRIGGER", "EVENT", "LOCK TABLES", "SHOW VIEW"]
    weak = Login("weak", "weak-password")
    small_schema.user(
        weak,
        SCHEMA,
        CLAIMS_GRANT,
        SCRATCH_ALL,
        f"GRANT {', '.join(grant for grant in grants if grant != missing)} ON {{schema}}.* TO {{user}}",
        *([] if missing == "mysql.proc" else ["GRANT SELECT ON mysql.proc TO {user}"]),
    )
    set_connection("it_database", small_schema.connection(weak))

    try:
        path = Path(backup()["path"])
    except VerifyError:
        assert backup.files() == []
        return
    restore(small_schema, path, "restored")
    assert counts(small_schema, "restored") == counts(small_schema, SCHEMA)


def test_a_server_that_is_off_leaves_no_file(database: MariaDB, backup: Backup, set_connection: SetConnection) -> None:
    set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    with pytest.raises(UnreachableError, match="connection it_database cannot be asked who holds the fleet"):
        backup()

    assert backup.files() == []


def test_a_place_that_cannot_be_written_is_an_error_an_operator_can_read(small_schema: MariaDB, backup: Backup) -> None:
    # Root may write everywhere, but nobody makes a folder below a file.
    backup.directory.write_text("a file where the folder should be")

    with pytest.raises(RollingUpgradeError):
        backup()


def test_a_failure_while_writing_leaves_no_file_and_ends_the_dump(database: MariaDB, backup: Backup) -> None:
    fill(database, doublings=6)
    # A real limit of the system, as a full disk would be: writing beyond it fails.
    with file_size_limit(64 << 10), pytest.raises((OSError, RollingUpgradeError)):
        backup()

    assert backup.files() == []
    assert [row for row in database.run("SHOW PROCESSLIST") if row[1] == OPERATOR.name] == []


def test_no_dump_is_begun_while_a_phase_runs_on_any_node(
    small_schema: MariaDB, backup: Backup, reachable_nodes: Sshd
) -> None:
    reachable_nodes.units(ADDRESSES[1], "small-db-migrate-2.0.0.service loaded active running")

    with pytest.raises(PrecheckError, match=r"small-db-migrate-2\.0\.0\.service is running on node2"):
        backup()

    assert backup.files() == []


def test_no_dump_is_begun_while_a_node_cannot_be_asked(
    small_schema: MariaDB, backup: Backup, reachable_nodes: Sshd, set_connection: SetConnection
) -> None:
    set_connection("it_node3", {**reachable_nodes.connection(), "port": free_port()})

    with pytest.raises(UnreachableError, match="node node3"):
        backup()

    assert backup.files() == []


def test_a_connection_that_cannot_be_used_is_named(
    small_schema: MariaDB, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_IT_DATABASE")

    with pytest.raises(PrecheckError, match="connection it_database cannot be used"):
        backup()

    assert backup.files() == []


def test_a_dump_of_this_run_is_found_while_a_phase_runs(
    small_schema: MariaDB, backup: Backup, reachable_nodes: Sshd
) -> None:
    path = backup()["path"]
    reachable_nodes.units(ADDRESSES[0], "small-db-migrate-2.0.0.service loaded active running")

    record = backup()

    assert (record["changed"], record["path"]) == (False, path)


def fill(database: MariaDB, *, doublings: int) -> None:
    """A table of 100 rows of 1.4 kB, doubled that often; it does not compress to nothing."""
    database.run(
        "CREATE TABLE large (id INT PRIMARY KEY AUTO_INCREMENT, text TEXT)",
        "INSERT INTO large (text) SELECT REPEAT(MD5(seq), 42) FROM seq_1_to_100",
        *["INSERT INTO large (text) SELECT REPEAT(MD5(RAND()), 42) FROM large"] * doublings,
        schema=SCHEMA,
    )


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """This process may write no file beyond that size, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


class Watcher:
    """Reads every command line of this machine for as long as the block lasts."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._over = threading.Event()
        self.looked_at_dump = 0
        self.seen: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(10)

    def _watch(self) -> None:
        while not self._over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue  # it has ended, or is not ours to look into
                self.looked_at_dump += command.startswith("mariadb-dump ")
                if self._secret in command:
                    self.seen.add(command)


def test_the_password_shows_in_no_process_list_and_in_no_log(
    database: MariaDB, backup: Backup, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(database, doublings=8)
    watcher = Watcher(OPERATOR.password)
    with watcher.watching():
        record = backup()

    captured = capfd.readouterr()
    assert watcher.looked_at_dump >= 3, "the dump was over before it could be looked at"
    assert watcher.seen == set()
    for text in (caplog.text, captured.out, captured.err, str(record)):
        assert OPERATOR.password not in text
    assert "dumped glance" in captured.out + captured.err + caplog.text, "the log was looked at"
    # Nothing of the login stays behind either.
    assert OPERATOR.password.encode() not in gzip.decompress(Path(record["path"]).read_bytes())
