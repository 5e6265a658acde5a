"""What the database says before its schema changes: the server, the service's login, transactions, leftovers.

Changes nothing; the one statement that sets something asks for a value which the server refuses to whoever may set it.
"""

from __future__ import annotations

from rolling_upgrade.decisions.schema_checks import TRUST, DatabaseFacts, Leftover, LoginFacts, OpenTransaction
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Database, Fleet
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.services.profile import DataMigration, ServiceProfile

ACCESS_DENIED, WRONG_VALUE = 1227, 1231
VARIABLES = f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'wsrep_on', '{TRUST}')"
# In the server's own time zone, as InnoDB writes when a transaction began, whatever zone sessions are set to.
TRANSACTIONS = """
SELECT p.USER, p.HOST, p.DB, TIMESTAMPDIFF(SECOND, t.trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')),
    COALESCE(t.trx_query, p.INFO, '')
FROM information_schema.INNODB_TRX t LEFT JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
"""
HAS_COLUMN = "SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND COLUMN_NAME = %s"


class _FactsHook(DatabaseHook):
    """The questions, one method each. Each raises UnreachableError."""

    def login_facts(self) -> LoginFacts:
        version, login = self._rows("SELECT VERSION(), CURRENT_USER()")[0]
        variables = {str(name).lower(): str(value).upper() in ("ON", "1") for name, value in self._rows(VARIABLES)}
        return LoginFacts(
            version=str(version),
            login=str(login),
            grants=tuple(str(row[0]) for row in self._rows("SHOW GRANTS")),
            # Galera logs for its other servers, and asks for the same privilege, without a log of its own too.
            binary_log=variables.get("log_bin", False) or variables.get("wsrep_on", False),
            trusts_creators=variables.get(TRUST, False),
        )

    def transactions(self) -> tuple[OpenTransaction, ...]:
        """All that are open now, of every user: without PROCESS this is refused by the server."""
        return tuple(
            OpenTransaction(
                user=None if user is None else str(user),
                host=str(host or "").rsplit(":", 1)[0],
                schema=None if schema is None else str(schema),
                seconds=int(str(seconds)),
                query=str(query),
            )
            for user, host, schema, seconds, query in self._rows(TRANSACTIONS)
        )

    def leftover(self, migration: DataMigration) -> Leftover | None:
        """What that migration has left behind; None where the schema has no such column any more."""
        name = self.database.name
        if not self._rows(HAS_COLUMN, (name, migration.table, migration.column)):
            return None
        rows = None
        if migration.where:
            count = f"SELECT COUNT(*) FROM `{name}`.`{migration.table}` WHERE {migration.where}"  # noqa: S608 - constants
            rows = int(str(self._rows(count)[0][0]))
        return Leftover(migration.release, migration.what, rows, migration.remedy)

    def why_trust_cannot_be_set(self) -> str:
        try:
            self._rows(f"SET GLOBAL {TRUST} = 'neither on nor off'")
        except UnreachableError as error:
            code, said = error.__cause__.args[:2] if error.__cause__ else (0, "")
            if code == WRONG_VALUE:
                return ""
            if code != ACCESS_DENIED:
                raise
            return str(said)
        raise AssertionError(f"the server took what is no value of {TRUST}")


def read_login_facts(database: Database) -> LoginFacts:
    """The server and what the service's own login may do there. Raises UnreachableError, PrecheckError."""
    return _FactsHook.of_service(database).login_facts()


def read_facts(fleet: Fleet, profile: ServiceProfile) -> DatabaseFacts:
    """All that is asked before a change of the schema. Raises UnreachableError, PrecheckError."""
    hook = _FactsHook(fleet.database)
    leftovers = (hook.leftover(migration) for migration in profile.earlier_migrations)
    return DatabaseFacts(
        login=read_login_facts(fleet.database),
        heads=hook.heads(),
        transactions=hook.transactions(),
        leftovers=tuple(left for left in leftovers if left is not None),
        why_trust_cannot_be_set=hook.why_trust_cannot_be_set() if fleet.database.set_log_bin_trust else "",
    )
