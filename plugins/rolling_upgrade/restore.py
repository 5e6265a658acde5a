"""Restore a dump that ``backup_database`` made: ``python -m rolling_upgrade.restore DUMP --connection ID``.

DUMP is the file's path; what stands beside it (``DUMP.json``) says what must come out. The dump is first restored into
a scratch schema by the same login, so that a dump or a login that does not do has lost nothing. Exit status: 0 restored
and the same, 1 refused or failed (the message says what was changed), 2 not understood.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rolling_upgrade.decisions.backups import Manifest, why_differs
from rolling_upgrade.decisions.dump import content_of
from rolling_upgrade.decisions.other_schema import for_schema
from rolling_upgrade.errors import PrecheckError, RefusedError, RollingUpgradeError, VerifyError
from rolling_upgrade.fleet.inventory import LONGEST_SCHEMA, Database
from rolling_upgrade.hooks.client_tools import login_of
from rolling_upgrade.hooks.contract_mark import forget_contract, forget_statement
from rolling_upgrade.hooks.database import shows_all_sessions
from rolling_upgrade.hooks.dump_lock import dump_lock
from rolling_upgrade.hooks.dump_store import WORKER, Store, manifest_of, store_at
from rolling_upgrade.hooks.restore import (
    UnreadableError,
    character_set_of,
    contents_of,
    create_schema,
    load,
    scratch_schema,
    unpacked,
)
from rolling_upgrade.hooks.sql import SqlSession, quoted, sql_session

UNTOUCHED = "nothing was changed; the schema is as it was."


@dataclass(frozen=True)
class _Dump:
    """A dump that is whole, and the way into the server that it is restored to."""

    connection: str
    store: Store
    manifest: Manifest
    session: SqlSession


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    asked = _parser().parse_args(arguments)
    # Connections that Airflow keeps in its database are found too where that is configured, as on a scheduler.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        with store_at(str(PurePosixPath(asked.dump).parent), asked.host) as store:
            _restore(asked, store, PurePosixPath(asked.dump).name)
    except (RollingUpgradeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rolling_upgrade.restore", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("dump", metavar="DUMP", help="path of the dump; DUMP.json must be beside it")
    parser.add_argument(
        "--connection", required=True, metavar="ID", help="Airflow connection of a login that may restore"
    )
    parser.add_argument(
        "--host", default=WORKER, metavar="ID", help="SSH connection of the host that has DUMP; else here"
    )
    parser.add_argument("--into", metavar="SCHEMA", help="another schema than the one that was dumped")
    parser.add_argument("--scratch", metavar="SCHEMA", help="where it is tried first; default <SCHEMA>_restore_check")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--despite-sessions", action="store_true", help="also while sessions are connected to the schema"
    )
    return parser


def _restore(asked: argparse.Namespace, store: Store, name: str) -> None:
    manifest = _checked(store, name)
    target = asked.into or manifest.database
    scratch = asked.scratch or f"{target}_restore_check"
    _check_names(target, scratch)
    database = Database(connection=asked.connection, service_connection=asked.connection, name=target)
    with sql_session(asked.connection) as session, dump_lock(database):
        if target != manifest.database:
            _refuse_there(session, target)
        if not asked.despite_sessions:
            _refuse_sessions(session, target)
        _say(f"{name}: {manifest.database} of fleet {manifest.fleet}, as of {manifest.begun}, "
             f"{sum(manifest.contents.rows.values())} rows in {len(manifest.contents.rows)} tables, "
             f"at {', '.join(manifest.contents.heads) or 'no revision'}; whole, by its checksum.")  # fmt: skip
        if not asked.yes and not _confirmed(target):
            raise RefusedError(
                "nobody said yes.", expected=f"the name {target}, or --yes.", safe=UNTOUCHED, next_step="say it again."
            )
        dump = _Dump(asked.connection, store, manifest, session)
        _try_first(dump, target, scratch)
        if not asked.despite_sessions:
            _refuse_sessions(session, target)
        _replace(dump, target)
    _forget_contract(database)
    _say(_next_steps(manifest, target))


def _checked(store: Store, name: str) -> Manifest:
    """What is known of the dump, which is whole. Raises RefusedError."""
    try:
        manifest = manifest_of(store, name)
        found = store.sha256(name)
        with store.open(name) as packed:
            content = content_of(unpacked(packed)) if found == manifest.sha256 else None
    except (ValueError, FileNotFoundError, UnreadableError) as error:
        raise _no_dump(name, str(error)) from error
    if content is None:
        raise _no_dump(name, f"its SHA-256 is {found}, not {manifest.sha256}")
    if content.other_schemas:
        raise _no_dump(name, "it names schemas itself, and would leave the one it is restored into")
    return manifest


def _no_dump(name: str, why: str) -> RefusedError:
    return RefusedError(
        f"{name} is not a dump to restore: {why}.",
        expected=f"a dump of backup_database as it was written, with {name}.json beside it.",
        safe=UNTOUCHED,
        next_step="take an older dump, or a copy of this one.",
    )


def _check_names(target: str, scratch: str) -> None:
    if target == scratch or not 0 < len(target) <= LONGEST_SCHEMA or not 0 < len(scratch) <= LONGEST_SCHEMA:
        raise RefusedError(
            f"the schemas {target} and {scratch} do not do.",
            expected=f"two different names of at most {LONGEST_SCHEMA} characters.",
            safe=UNTOUCHED,
            next_step="choose others with --into and --scratch.",
        )


def _refuse_there(session: SqlSession, schema: str) -> None:
    if character_set_of(session, schema):
        raise RefusedError(
            f"schema {schema} is there, and is not the one that was dumped.",
            expected="no schema of that name: what is in it would be lost.",
            safe=UNTOUCHED,
            next_step="choose another name with --into, or drop that schema yourself.",
        )


def _refuse_sessions(session: SqlSession, schema: str) -> None:
    """Raise PrecheckError while anybody but this command is connected to the schema."""
    if not any(shows_all_sessions(str(row[0])) for row in session.rows("SHOW GRANTS")):
        raise PrecheckError(
            "the login is shown no sessions but its own.",
            expected="the privilege PROCESS: services that are still connected must be seen.",
            safe=UNTOUCHED,
            next_step="`GRANT PROCESS ON *.* TO` that login; or, with all services stopped, say --despite-sessions.",
        )
    rows = session.rows(
        "SELECT ID, USER, HOST FROM information_schema.PROCESSLIST WHERE DB = %s AND ID <> CONNECTION_ID()", schema
    )
    if rows:
        shown = ", ".join(f"{user} from {host} (session {number})" for number, user, host in rows[:5])
        raise PrecheckError(
            f"{len(rows)} sessions are connected to {schema}: {shown}{', …' * (len(rows) > 5)}.",
            expected="none: what they write while the schema is replaced would be lost or half-written.",
            safe=UNTOUCHED,
            next_step="stop the service on every node, then say it again; --despite-sessions goes on all the same.",
        )


def _confirmed(target: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"Everything in {target} is replaced. Type {target} to go on: ").strip() == target


def _try_first(dump: _Dump, target: str, scratch: str) -> None:
    """Restore into the scratch schema and compare, definers and all. Raises VerifyError, PrecheckError."""
    known = dump.manifest
    with scratch_schema(dump.session, scratch, target, known.character_set, known.collation) as logged:
        reasons = _load(dump, scratch, on_trial=True, logged=logged)
    if not logged:
        # Replicas must have what follows.
        dump.session.rows("SET SESSION sql_log_bin = 1")
    if reasons:
        raise VerifyError(
            f"the dump, tried in {scratch}, is not what was dumped: " + "; ".join(reasons) + ".",
            expected="the same tables, rows, triggers, routines and events.",
            safe=UNTOUCHED,
            next_step="mend the cause (a login with all grants on the schema, and SET USER or SUPER where others "
            "have defined a trigger or routine), or take another dump.",
        )
    _say(f"tried in {scratch}: it is what was dumped.")


def _replace(dump: _Dump, target: str) -> None:
    """Make the schema anew from the dump, and compare. Raises VerifyError."""
    character_set = character_set_of(dump.session, target) or (dump.manifest.character_set, dump.manifest.collation)
    # What the dump does not know, such as what an expand has added, must not stay.
    dump.session.rows(f"DROP DATABASE IF EXISTS {quoted(target)}")
    create_schema(dump.session, target, *character_set)
    reasons = _load(dump, target)
    if reasons:
        raise VerifyError(
            f"{target} is not what was dumped: " + "; ".join(reasons) + ".",
            expected="the same tables, rows, triggers, routines and events.",
            safe="the dump is whole and was not touched; the schema is not to be used as it is now.",
            next_step="keep the services stopped, mend the cause, and say it again.",
        )


def _load(dump: _Dump, schema: str, *, on_trial: bool = False, logged: bool = True) -> list[str]:
    """Reasons why the schema does not hold what was dumped, once the dump was carried out in it."""
    try:
        with dump.store.open(dump.manifest.file) as packed:
            lines = for_schema(unpacked(packed), dump.manifest.database, schema, on_trial=on_trial)
            if said := load(login_of(dump.connection), schema, lines, logged=logged):
                return [said]
    except UnreadableError as error:
        return [str(error)]
    return why_differs(dump.manifest.contents, contents_of(dump.session, schema))


def _next_steps(manifest: Manifest, target: str) -> str:
    at = ", ".join(manifest.contents.heads) or "no revision"
    return f"""{target} holds what was dumped at {manifest.begun}, and nothing later: compared, table by table.
Next:
 1. Its schema is at {at}: start on every node the release that belongs to it, and no other. The rollback
    workflow does that node by node, where nodes still answer.
 2. Mark the run of the upgrade as failed in Airflow; a new run begins from what the nodes run then.
 3. Images that were made since {manifest.begun} are unknown to the database; what they stored is still in the store."""


def _forget_contract(database: Database) -> None:
    try:
        forget_contract(database)
    except RollingUpgradeError as error:
        _say(f"A contract before may still be on record, which would keep a rollback back: {error.found}\n"
             f"Run with a login that may: {forget_statement(database)}")  # fmt: skip


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
