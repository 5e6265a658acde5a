"""What forbids to change the schema now: the server, the login, the releases, open transactions, old APIs. Pure.

Sources: Glance administration guide, "Rolling Upgrades" (MySQL or MariaDB 5.5, API v2 only, no Registry), and the
servers' own rules for triggers beside a binary log. A schema that expand has changed half-way can only be restored, so
all of this is asked before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rolling_upgrade.decisions.grants import held
from rolling_upgrade.fleet.catalogue import Catalogue, Release

OLDEST_SERVER = (5, 5)
SCHEMA_PRIVILEGES = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "TRIGGER",
)  # fmt: skip
"""What the service's login must hold on its schema: tables, indexes, foreign keys and triggers come and go."""
TRUSTED_ON_MARIADB = ("SUPER",)
TRUSTED_ON_MYSQL = ("SUPER", "SET_USER_ID")
"""Who may make and drop triggers beside a binary log. MariaDB's finer privileges do not give it, up to 11 at least;
MySQL 8.0 takes SET_USER_ID too."""
TRUST = "log_bin_trust_function_creators"
QUERY_HEAD = 80
_NUMBERS = re.compile(r"^(?:5\.5\.5-(?=\d+\.\d+\.\d+-MariaDB))?(\d+)\.(\d+)")


@dataclass(frozen=True)
class Reason:
    """Why not, and what to do about it."""

    found: str
    remedy: str


@dataclass(frozen=True)
class LoginFacts:
    """The server as the service's own login reaches it, and what it may do there."""

    version: str
    """``VERSION()``."""
    login: str
    """``CURRENT_USER()``: the account whose grants count."""
    grants: tuple[str, ...]
    """Lines of ``SHOW GRANTS``."""
    binary_log: bool
    """Statements are written for replicas, or for the other servers of a Galera cluster."""
    trusts_creators: bool
    """``log_bin_trust_function_creators`` is on."""


@dataclass(frozen=True)
class OpenTransaction:
    """A transaction that has not ended, and who has it open; ``user`` None for a prepared one that nobody has."""

    user: str | None
    host: str
    schema: str | None
    """The session's default schema; None where it has none."""
    seconds: int
    query: str
    """What it runs now; empty while it is idle."""

    def __str__(self) -> str:
        who = f"{self.user} from {self.host}" if self.user else "nobody (a prepared XA transaction)"
        head = " ".join(self.query.split())[:QUERY_HEAD]
        return f"{who}, open for {self.seconds} s, " + (f"runs `{head}`" if head else "idle")


@dataclass(frozen=True)
class Leftover:
    """What a data migration of an earlier release has left behind."""

    release: str
    what: str
    rows: int | None
    """None where it is the column itself that should not be there."""
    remedy: str


@dataclass(frozen=True)
class DatabaseFacts:
    """What the database says before its schema changes."""

    login: LoginFacts
    heads: tuple[str, ...]
    transactions: tuple[OpenTransaction, ...]
    leftovers: tuple[Leftover, ...]
    why_trust_cannot_be_set: str = ""
    """What the server answers to the operator's login; empty where it may, or where it is not to set it."""


@dataclass(frozen=True)
class NodeFacts:
    """What runs on a node, and what of it forbids an upgrade."""

    name: str
    release: str | None
    """The release that it is proven to run."""
    options: tuple[str, ...] = ()
    """Lines of its configuration that turn removed parts of the service on."""
    programs: tuple[str, ...] = ()
    """Processes and units of removed programs."""


def why_not_server(version: str) -> list[Reason]:
    """Against a server that is too old, or that does not say what it is."""
    found = _NUMBERS.match(version)
    least = ".".join(map(str, OLDEST_SERVER))
    if found and tuple(map(int, found.groups())) >= OLDEST_SERVER:
        return []
    said = f"the database server is {version}" if found else f"the database server says {version!r} for its version"
    return [Reason(f"{said}, and {least} is the oldest that is supported", "bring the server to a supported version")]


def why_not_login(facts: LoginFacts, schema: str, *, sets_trust: bool, why_cannot_set: str = "") -> list[Reason]:
    """Against a login that could not make every change. ``sets_trust``: the workflow may trust creators for a while."""
    reasons = []
    missing = held(facts.grants, schema).missing(SCHEMA_PRIVILEGES)
    if missing:
        names = ", ".join(missing)
        reasons.append(
            Reason(
                f"{facts.login}, with which the service logs in, has no {names} on {schema}",
                f"`GRANT {names} ON {quoted_schema(schema)}.* TO {quoted_account(facts.login)};`",
            )
        )
    if needs_trust(facts, schema):
        if not sets_trust:
            reasons.append(
                Reason(
                    f"the server writes a binary log, {facts.login} has no SUPER, and {TRUST} is 0: "
                    "it could not make triggers",
                    f"`SET GLOBAL {TRUST} = 1;` until contract has run, or let the workflow do so: "
                    "`database: {set_log_bin_trust: true}` in the fleet file",
                )
            )
        elif why_cannot_set:
            reasons.append(
                Reason(
                    f"the fleet file lets the workflow set {TRUST}, and the operator's login may not: {why_cannot_set}",
                    "grant that login BINLOG ADMIN (MariaDB from 10.5), SYSTEM_VARIABLES_ADMIN (MySQL from 8.0) or "
                    "SUPER (older ones) on *.*",
                )
            )
    return reasons


def needs_trust(facts: LoginFacts, schema: str) -> bool:
    """Whether that login can make and drop triggers only while the server trusts every creator of one."""
    trusted = TRUSTED_ON_MARIADB if "mariadb" in facts.version.lower() else TRUSTED_ON_MYSQL
    may = held(facts.grants, schema).has_any_everywhere(trusted)
    return facts.binary_log and not facts.trusts_creators and not may


def why_not_releases(nodes: Mapping[str, str | None], target: Release, catalogue: Catalogue) -> list[Reason]:
    """Against a jump from what a node is proven to run that the service does not support."""
    reasons = []
    for name, version in nodes.items():
        if version is None or version == target.version:
            continue
        why = catalogue.why_not_from(catalogue.release(version), target)
        if why:
            reasons.append(Reason(f"{name} runs {version}: {why}", "mark this run failed and choose a nearer release"))
    return reasons


def why_not_heads(
    heads: Sequence[str], nodes: Mapping[str, str | None], target: Release, catalogue: Catalogue
) -> list[Reason]:
    """Against a schema that is not the one of the releases that run, nor one on the way from there to the target."""
    reasons = []
    at = ", ".join(heads) or "no revision"
    for version in sorted({version for version in nodes.values() if version is not None}):
        release = catalogue.release(version)
        names = ", ".join(name for name, runs in nodes.items() if runs == version)
        if version == target.version:
            fits = not {release.expanded, release.contracted}.isdisjoint(heads)
            needs = f"{release.expanded} or {release.contracted}"
        else:
            # A release from before there were two branches (Newton) has one revision, and expand takes its place.
            one_branch = release.expanded == release.contracted
            rest = set(heads) - {target.expanded, *([] if one_branch else [release.expanded])}
            fits = rest in ({release.contracted}, {target.contracted}) or (
                one_branch and set(heads) == {target.expanded}
            )
            needs = release.contracted
        if fits:
            continue
        if version != target.version and release.expanded in heads:
            reasons.append(
                Reason(
                    f"the schema is at {at}: the upgrade to {version}, which {names} runs, was never contracted",
                    f"mark this run failed and trigger one to {version}, which contracts; then the next to "
                    f"{target.version}",
                )
            )
            continue
        reasons.append(
            Reason(
                f"the schema is at {at}, and {names} runs {version}, which needs {needs}",
                "see that database.connection and database.name of the fleet file lead to the database that the "
                "service uses, and which release's `db expand` was run on it by hand",
            )
        )
    return reasons


def why_not_leftovers(leftovers: Iterable[Leftover]) -> list[Reason]:
    """Against rows that a release which was skipped should have migrated: contract may lose them."""
    return [
        Reason(
            f"the data migration of {left.release} was never run: "
            + (left.what if left.rows is None else f"{left.rows} {left.what}"),
            left.remedy,
        )
        for left in leftovers
        if left.rows is None or left.rows > 0
    ]


def why_not_transactions(
    transactions: Iterable[OpenTransaction], *, schema: str, user: str, limit: int
) -> list[Reason]:
    """Against transactions older than ``limit`` seconds: a change of the schema waits for them, and all others for it.

    On a server of many services, those of sessions in another schema do not count, unless they are the service's own.
    """
    long = [
        one for one in transactions if one.seconds >= limit and (one.schema in (None, "", schema) or one.user == user)
    ]
    if not long:
        return []
    listed = "; ".join(str(one) for one in sorted(long, key=lambda one: -one.seconds))
    return [
        Reason(
            f"transactions are open for {limit} s or more (database.long_transaction_seconds), "
            f"for which the schema's change and then every request would wait: {listed}",
            "let them end, or end their sessions (`SHOW PROCESSLIST`, `KILL`)",
        )
    ]


def why_not_nodes(nodes: Iterable[NodeFacts]) -> list[Reason]:
    """Against parts of the service that cannot take part in a rolling upgrade."""
    reasons = []
    for node in nodes:
        if node.options:
            reasons.append(
                Reason(
                    f"{node.name} is configured for Images API v1 or the Registry: {', '.join(node.options)}",
                    f"take these options out of the configuration of {node.name}: API v2 without Registry is what a "
                    "rolling upgrade supports",
                )
            )
        if node.programs:
            reasons.append(
                Reason(
                    f"{node.name} runs the Registry: {', '.join(node.programs)}",
                    f"stop and disable it on {node.name}",
                )
            )
    return reasons


def why_not_upgrade_check(status: int | None, said: str, release: str, node: str) -> list[Reason]:
    """Against what the new release's own check says: exit status 0 and 1 (warnings) pass, None was not asked.

    Source: oslo.upgradecheck (2 is a failure, 255 an error of the check itself).
    """
    if status in (None, 0, 1):
        return []
    last = " ".join(said.split())[-600:]
    if status == 2:
        return [
            Reason(
                f"the upgrade check of {release} on {node} has a failure: {last}",
                "mend what it names, and the configuration template where it is about an option",
            )
        ]
    return [
        Reason(
            f"the upgrade check of {release} on {node} could not be made, it ended with {status}: {last}",
            f"see that {release} is staged there (if not, clear stage_release) and can be run by the service's user",
        )
    ]


def quoted_schema(schema: str) -> str:
    """The schema as a GRANT wants it: a lone ``_`` would stand for any letter."""
    escaped = schema.replace("_", r"\_")
    return f"`{escaped}`"


def quoted_account(account: str) -> str:
    """``user@host`` with its quotes."""
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"
