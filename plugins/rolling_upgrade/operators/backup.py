"""A consistent dump of the database before its schema changes, proven by restoring it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from rolling_upgrade.decisions.backups import (
    SUFFIX,
    Contents,
    Manifest,
    surplus,
    why_differs,
    why_no_space,
    why_too_old,
)
from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.dump import why_not_whole
from rolling_upgrade.decisions.other_schema import for_schema
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import Record, now, record
from rolling_upgrade.fleet.inventory import Fleet, load_named
from rolling_upgrade.hooks.claims import hold, this_run
from rolling_upgrade.hooks.client_tools import login_of
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.dump import Dumped, write_dump
from rolling_upgrade.hooks.dump_lock import DumpLock, dump_lock
from rolling_upgrade.hooks.dump_store import PARTIAL, Store, dumps_of, manifests, write_text
from rolling_upgrade.hooks.phase import refuse_running_phase
from rolling_upgrade.hooks.restore import (
    UnreadableError,
    character_set_of,
    contents_of,
    load,
    refuse_foreign,
    scratch_schema,
    unpacked,
)
from rolling_upgrade.hooks.sql import SqlSession, sql_session
from rolling_upgrade.operators.step import FleetOperator
from rolling_upgrade.services.registry import profile_of

DUMP = ".sql.gz"
CHECKSUM = ".sha256"
SIZE = "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"


class BackupDatabaseOperator(FleetOperator):
    """Dump into the fleet's backup directory and restore that into a scratch schema: proven, or not there.

    Repeated in the same run it finds its dump, checks it, and leaves it, unless it has become too old for expand.
    Raises VerifyError; PrecheckError while a phase runs or another dump, without room, or when the scratch schema is
    somebody else's; HeldError when another run holds the fleet.
    """

    def execute(self, context: Any) -> Record:
        fleet = load_named(self.fleet)
        me = this_run(context["ti"])
        hold(fleet, me)
        with _failures():
            if found := _found(fleet, me):
                return self.say(found)
            # First the lock, then the look: a phase that begins looks at the lock, and is seen from then on.
            with dump_lock(fleet.database) as lock:
                refuse_running_phase(fleet, profile_of(fleet.service))
                return self.say(_apply(fleet, me, lock))


def _found(fleet: Fleet, me: Holder) -> Record | None:
    """The record of this run's dump where it is there, whole, and young enough."""
    with dumps_of(fleet) as store:
        mine = [found for found in manifests(store, fleet.name, fleet.database.name) if found.is_of_run(me)]
        for manifest in sorted(mine, key=lambda found: found.begun, reverse=True)[:1]:
            young = not why_too_old(manifest.begun, fleet.backup.max_age_hours, now())
            if manifest.proven and young and store.sha256(manifest.file) == manifest.sha256:
                return record("the dump of this run is there and whole", changed=False, **_facts(store, manifest))
    return None


def _apply(fleet: Fleet, me: Holder, lock: DumpLock) -> Record:
    """Dump under another name, prove it, and only then give it its own."""
    with dumps_of(fleet) as store, sql_session(fleet.database.connection) as session:
        store.prepare()
        _clean(fleet, store)
        _refuse_no_space(fleet, store, session)
        refuse_foreign(session, fleet.scratch_schema, fleet.database.name)
        begun = now()
        name = _name(fleet, me, begun)
        try:
            manifest = _dump(fleet, store, session, Manifest(
                file=name, fleet=fleet.name, database=fleet.database.name, run=asdict(me), begun=begun, ended="",
                bytes=0, sha256="", tool="", server_version=str(session.value("SELECT VERSION()")),
                character_set="", collation="", contents=Contents({}, {}, ()),
            ))  # fmt: skip
            _prove(fleet, store, session, manifest)
            lock.check()
            manifest = replace(manifest, proven=now())
            write_text(store, name + CHECKSUM, f"{manifest.sha256}  {name}\n")
            write_text(store, name + SUFFIX, manifest.to_json())
            store.rename(name + PARTIAL, name)
        finally:
            store.remove(name + PARTIAL)
        deleted = _retain(fleet, store)
        said = f"dumped {fleet.database.name} to {name}, {manifest.bytes} bytes, and restored it to prove it"
        return record(said, changed=True, **_facts(store, manifest), deleted=deleted)


def _dump(fleet: Fleet, store: Store, session: SqlSession, manifest: Manifest) -> Manifest:
    """Write the dump under its temporary name. Raises VerifyError unless it is whole."""
    charset = character_set_of(session, fleet.database.name)
    if charset is None:
        raise _failed(f"there is no schema {fleet.database.name}, or the login may not see it")
    position = bool(session.value("SELECT @@log_bin"))
    with store.create(manifest.file + PARTIAL) as target:
        dumped = write_dump(login_of(fleet.database.connection), fleet.database.name, target, position=position)
    if dumped.status != 0:
        raise _failed(f"{dumped.program} ended with {dumped.status}: {dumped.said[-800:]}")
    if reasons := why_not_whole(dumped.content, DatabaseHook.of_service(fleet.database).stored_objects()):
        raise _failed("; ".join(reasons))
    partial = manifest.file + PARTIAL
    return replace(
        manifest,
        ended=now(),
        bytes=store.size(partial),
        sha256=store.sha256(partial),
        tool=dumped.tool,
        character_set=charset[0],
        collation=charset[1],
        contents=_contents(dumped),
        position=dumped.content.position,
        no_position=dumped.no_position,
    )


def _contents(dumped: Dumped) -> Contents:
    found = dumped.content
    return Contents(found.rows, found.stored, tuple(sorted(found.heads)))


def _prove(fleet: Fleet, store: Store, session: SqlSession, manifest: Manifest) -> None:
    """Restore the dump from where it lies into the scratch schema and compare. Raises VerifyError, PrecheckError."""
    source, scratch = fleet.database.name, fleet.scratch_schema
    with (
        scratch_schema(session, scratch, source, manifest.character_set, manifest.collation) as logged,
        store.open(manifest.file + PARTIAL) as packed,
    ):
        try:
            lines = for_schema(unpacked(packed), source, scratch, on_trial=True, own=True)
            said = load(login_of(fleet.database.connection), scratch, lines, logged=logged)
        except UnreadableError as error:
            said = str(error)
        reasons = [said] if said else why_differs(manifest.contents, contents_of(session, scratch))
    if reasons:
        raise _failed(f"the dump, restored into {scratch}, is not what was dumped: " + "; ".join(reasons))


def _clean(fleet: Fleet, store: Store) -> None:
    """Remove what killed tries left: nobody else writes here while the lock is held."""
    names = store.names()
    for name in names:
        dump = name.removesuffix(PARTIAL).removesuffix(SUFFIX).removesuffix(CHECKSUM)
        ours = dump.startswith(f"{fleet.database.name}-") and dump.endswith(DUMP)
        if ours and (name.endswith(PARTIAL) or dump not in names):
            store.remove(name)


def _refuse_no_space(fleet: Fleet, store: Store, session: SqlSession) -> None:
    size = int(session.value(SIZE, fleet.database.name))
    if why := why_no_space(size, fleet.backup.space_factor, store.free_bytes()):
        raise PrecheckError(
            f"there is no room for a dump in {store.where}: {why}.",
            expected="that a dump cannot fill the disk; it is compressed, so that less may do.",
            safe="no dump was begun; the fleet serves as before.",
            next_step="make room there, or lower backup.space_factor in the fleet file, then clear this task.",
        )


def _retain(fleet: Fleet, store: Store) -> list[str]:
    """Delete this fleet's dumps beyond those that stay; returns their names."""
    deleted = []
    for manifest in surplus(manifests(store, fleet.name, fleet.database.name), fleet.backup.keep):
        # The dump first: what is left without one is swept away by a later try.
        for suffix in ("", CHECKSUM, SUFFIX):
            store.remove(manifest.file + suffix)
        deleted.append(manifest.file)
    return deleted


def _name(fleet: Fleet, me: Holder, begun: str) -> str:
    """Sorted by time, and telling its run."""
    run = re.sub(r"[^A-Za-z0-9]+", "-", me.run_id).strip("-")[:100]
    moment = re.sub(r"[-:]", "", begun.partition("+")[0])
    return f"{fleet.database.name}-{moment}Z-{run}{DUMP}"


def _facts(store: Store, manifest: Manifest) -> dict[str, Any]:
    return {
        "path": f"{store.folder}/{manifest.file}",
        "host": store.host,
        **{key: getattr(manifest, key) for key in ("bytes", "sha256", "begun", "ended", "proven")},
        "heads": list(manifest.contents.heads),
        "rows": sum(manifest.contents.rows.values()),
    }


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(str(error)) from error


def _failed(why: str) -> VerifyError:
    return VerifyError(
        f"the backup did not succeed: {why}.",
        expected="a complete dump with every table, trigger, routine and event, which restores to the same.",
        safe="nothing was changed; the fleet serves as before.",
        next_step="mend the cause (login, grants, mariadb-dump, space in the backup directory), then clear this task.",
    )
