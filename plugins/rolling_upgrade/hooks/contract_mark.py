"""That contract has begun: a row beside the claims.

A contract that was cut off half-way leaves the revisions as they were, and a schema that no old release can use. So
the row is there before contract begins, and stays until an expand begins anew or the database was restored.
"""

from __future__ import annotations

from rolling_upgrade.fleet.inventory import Database
from rolling_upgrade.hooks.sql import SqlSession, literal, quoted, sql_session

MAKE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema}"
MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    database_name VARCHAR(64) PRIMARY KEY, to_release VARCHAR(64) NOT NULL, since DATETIME(6) NOT NULL COMMENT 'UTC'
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""
IS_THERE = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s AND table_name = 'contracts'"
FOUND = "SELECT to_release FROM {table} WHERE database_name = %s"
MARK = "REPLACE INTO {table} VALUES (%s, %s, UTC_TIMESTAMP(6))"
FORGET = "DELETE FROM {table} WHERE database_name = %s"


def mark_contract(database: Database, release: str) -> None:
    """Keep that contract to that release begins. Raises UnreachableError, PrecheckError for an unusable connection."""
    with sql_session(database.connection) as session:
        session.rows(_filled(MAKE_SCHEMA, database))
        session.rows(_filled(MAKE_TABLE, database))
        session.rows(_filled(MARK, database), database.name, release)


def contract_began(database: Database) -> str | None:
    """The release that contract was begun for, finished or not; None where none was. Raises as ``mark_contract``."""
    with sql_session(database.connection) as session:
        if not _is_there(session, database):
            return None
        found = session.value(_filled(FOUND, database), database.name)
    return str(found) if found is not None else None


def forget_contract(database: Database) -> None:
    """The schema is of before contract again. Does nothing where no row is. Raises as ``mark_contract``."""
    with sql_session(database.connection) as session:
        if _is_there(session, database):
            session.rows(_filled(FORGET, database), database.name)


def forget_statement(database: Database) -> str:
    """What a person runs who has restored the database by other means."""
    return f"{_filled(FORGET, database) % literal(database.name)};"


def _is_there(session: SqlSession, database: Database) -> bool:
    return bool(session.value(IS_THERE, database.claims_schema))


def _filled(statement: str, database: Database) -> str:
    schema = quoted(database.claims_schema)
    return statement.format(schema=schema, table=f"{schema}.`contracts`")
