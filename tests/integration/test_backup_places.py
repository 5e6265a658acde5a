"""Where dumps lie: room, retention, age, what killed tries left, another host, and the tools of another maker."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from tests.integration.parts.backups import Backup, Tools, fingerprint, manifest_of, nothing_was_changed
from tests.integration.parts.mariadb import SCRATCH, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import ADDRESSES, Sshd, new_host_key

pytestmark = pytest.mark.integration

NEEDED = ("setpriv", "sudo")


def next_run(database: MariaDB, backup: Backup, run: str) -> dict[str, Any]:
    """The step of another run, once the one before is over."""
    database.run("DELETE FROM rolling_upgrade.claims")
    return backup(run)


def grow_old(record: dict[str, Any], hours: float) -> None:
    """As if the dump had been begun that long ago."""
    path = Path(f"{record['path']}.json")
    known = json.loads(path.read_text())
    known["begun"] = (datetime.fromisoformat(known["begun"]) - timedelta(hours=hours)).isoformat()
    path.write_text(json.dumps(known))


def test_no_dump_is_begun_without_room(small_schema: MariaDB, backup: Backup, tools: Tools) -> None:
    before, begun = fingerprint(small_schema), tools.held("mariadb-dump")
    backup.has(space_factor=1e9)

    with pytest.raises(PrecheckError, match=r"there is no room for a dump in .*: \d.* MiB are free, and the schema of"):
        backup()

    assert not begun.exists()
    nothing_was_changed(small_schema, backup, before)


def test_dumps_beyond_those_that_stay_are_deleted_and_nothing_else(small_schema: MariaDB, backup: Backup) -> None:
    backup.has(keep=2)
    first = backup("run 1")
    second = next_run(small_schema, backup, "run 2")
    # What is not this fleet's stays, whatever it looks like and however old.
    foreign = {
        "glance-by-hand.sql.gz": b"of somebody",
        "glance-by-hand.sql.gz.json": b"{}",
        "notes.txt": b"mine",
        "other.sql.gz": b"of another fleet",
        "other.sql.gz.json": json.dumps(
            manifest_of(first) | {"file": "other.sql.gz", "fleet": "other", "begun": "2001-01-01T00:00:00+00:00"}
        ).encode(),
        "taken.sql.gz": b"named by another's description",
        "taken.sql.gz.json": json.dumps(manifest_of(first) | {"begun": "2001-01-01T00:00:00+00:00"}).encode(),
    }
    for name, content in foreign.items():
        (backup.folder / name).write_bytes(content)

    third = next_run(small_schema, backup, "run 3")

    assert third["deleted"] == [Path(first["path"]).name]
    kept = {Path(record["path"]).name for record in (second, third)}
    assert set(backup.files()) == {*foreign, *(name + suffix for name in kept for suffix in ("", ".json", ".sha256"))}
    assert {name: (backup.folder / name).read_bytes() for name in foreign} == foreign


def test_the_newest_dump_always_stays(small_schema: MariaDB, backup: Backup) -> None:
    backup.has(keep=1)
    first = backup("run 1")
    second = next_run(small_schema, backup, "run 2")

    assert second["deleted"] == [Path(first["path"]).name]
    assert backup.dumps() == [Path(second["path"]).name]


def test_a_step_that_fails_deletes_no_dump(small_schema: MariaDB, backup: Backup, tools: Tools) -> None:
    backup.has(keep=1)
    backup("run 1")
    files = backup.files()
    tools.script("mariadb-dump", "exit 3")

    with pytest.raises(VerifyError):
        next_run(small_schema, backup, "run 2")

    assert backup.files() == files


def test_a_dump_of_this_run_that_became_too_old_is_made_again(small_schema: MariaDB, backup: Backup) -> None:
    first = backup()
    grow_old(first, 23)
    assert backup()["changed"] is False
    grow_old(first, 2)

    second = backup()

    assert second["changed"] is True
    assert second["path"] != first["path"]
    assert second["begun"] > first["begun"]


def test_what_killed_tries_left_is_swept_and_nothing_of_others(small_schema: MariaDB, backup: Backup) -> None:
    backup.folder.mkdir(parents=True)
    left = ["glance-1.sql.gz.partial", "glance-2.sql.gz.json", "glance-2.sql.gz.sha256", "glance-3.sql.gz.json.partial"]
    others = ["cinder-1.sql.gz.partial", "glance-by-hand.txt", "my.sql.gz.json"]
    for name in (*left, *others):
        (backup.folder / name).write_text("")

    name = Path(backup()["path"]).name

    assert set(backup.files()) == {*others, name, f"{name}.json", f"{name}.sha256"}


def test_the_tools_of_mysql_do_where_mariadb_has_none(small_schema: MariaDB, backup: Backup, tools: Tools) -> None:
    tools.only(*NEEDED, "mysqldump", "mysql")

    record = backup()

    assert manifest_of(record)["tool"].startswith("mysqldump ")
    assert gzip.decompress(Path(record["path"]).read_bytes()).rstrip().splitlines()[-1].startswith(b"-- Dump completed")


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ([], "neither mariadb-dump nor mysqldump is on this worker"),
        (["mariadb-dump"], "neither mariadb nor mysql is on this worker"),
    ],
)
def test_a_worker_without_the_tools_is_named(
    small_schema: MariaDB, backup: Backup, tools: Tools, there: list[str], why: str
) -> None:
    before = fingerprint(small_schema)
    tools.only(*NEEDED, *there)

    with pytest.raises(PrecheckError, match=why):
        backup()

    nothing_was_changed(small_schema, backup, before)


@pytest.fixture
def remote(backup: Backup, reachable_nodes: Sshd, set_connection: SetConnection) -> Backup:
    """The same folder, behind a connection of its own."""
    set_connection("it_database_host", reachable_nodes.connection(ADDRESSES[2]))
    backup.has(host="it_database_host")
    return backup


def test_a_dump_is_written_on_another_host_and_proven_from_there(small_schema: MariaDB, remote: Backup) -> None:
    before = fingerprint(small_schema)
    record = remote()

    path = Path(record["path"])
    assert record["host"] == "it_database_host"
    assert remote.files() == [path.name, f"{path.name}.json", f"{path.name}.sha256"]
    assert [(remote.folder / name).stat().st_mode & 0o777 for name in remote.files()] == [0o600] * 3
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"] == manifest_of(record)["sha256"]
    assert manifest_of(record)["bytes"] == path.stat().st_size
    assert fingerprint(small_schema) == before
    assert remote()["changed"] is False

    path.write_bytes(path.read_bytes()[:-20])
    assert remote()["changed"] is True


def test_dumps_on_another_host_are_retained_alike(small_schema: MariaDB, remote: Backup) -> None:
    remote.has(host="it_database_host", keep=1)
    remote("run 1")
    (remote.folder / "glance-9.sql.gz.partial").write_text("left")
    second = next_run(small_schema, remote, "run 2")

    assert remote.dumps() == [Path(second["path"]).name]
    assert len(remote.files()) == 3


def test_no_dump_is_begun_without_room_on_another_host(small_schema: MariaDB, remote: Backup) -> None:
    before = fingerprint(small_schema)
    remote.has(host="it_database_host", space_factor=1e9)

    with pytest.raises(
        PrecheckError, match=rf"no room for a dump in .* on {ADDRESSES[2]} \(connection it_database_host\)"
    ):
        remote()

    nothing_was_changed(small_schema, remote, before)


def test_a_host_that_cannot_be_trusted_or_asked_gets_no_dump(
    small_schema: MariaDB, remote: Backup, reachable_nodes: Sshd, set_connection: SetConnection, tmp_path: Path
) -> None:
    before = fingerprint(small_schema)
    wrong: list[tuple[type[Exception], dict[str, object]]] = [
        (PrecheckError, reachable_nodes.connection(ADDRESSES[2], no_host_key_check=True)),
        (UnreachableError, reachable_nodes.connection(ADDRESSES[2], host_key=new_host_key(tmp_path))),
        (UnreachableError, {**reachable_nodes.connection(ADDRESSES[2]), "port": free_port()}),
    ]
    for error, connection in wrong:
        set_connection("it_database_host", connection)
        with pytest.raises(error, match="it_database_host"):
            remote()

    nothing_was_changed(small_schema, remote, before)


def test_a_place_on_another_host_that_cannot_be_written_ends_the_step(small_schema: MariaDB, remote: Backup) -> None:
    remote.directory.write_text("a file where the folder should be")

    with pytest.raises(VerifyError, match=f"`mkdir` on {ADDRESSES[2]}"):
        remote()


def test_the_scratch_schema_may_have_another_name(small_schema: MariaDB, backup: Backup) -> None:
    """Where the default one is somebody's."""
    small_schema.run(f"CREATE DATABASE {SCRATCH}", f"CREATE TABLE {SCRATCH}.precious (id INT)")
    small_schema.run("GRANT ALL ON `glance\\_proof`.* TO 'upgrade'@'%'")
    backup.has(scratch_schema="glance_proof")

    assert backup()["changed"] is True
    assert small_schema.run(f"SHOW TABLES IN {SCRATCH}") == [("precious",)]
