"""Everything for which the schema must not be changed, asked before a node leaves rotation, and again right before.

What is found is told all at once, each with its remedy. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.decisions.schema_checks import (
    DatabaseFacts,
    Reason,
    why_not_heads,
    why_not_leftovers,
    why_not_login,
    why_not_nodes,
    why_not_releases,
    why_not_server,
    why_not_transactions,
    why_not_upgrade_check,
)
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.database import service_login
from rolling_upgrade.hooks.database_facts import read_facts
from rolling_upgrade.hooks.node import CommandResult
from rolling_upgrade.hooks.node_facts import read_nodes
from rolling_upgrade.operators.step import NodeOperator, NodeStep

CHECK_SECONDS = 120.0


class CheckDatabaseOperator(NodeOperator):
    """Asks the database, every node, and the staged release's own upgrade check on the new node.

    Raises PrecheckError with everything that it found. Warnings of the upgrade check are logged.
    """

    def step(self, step: NodeStep, context: Any) -> Record:
        facts, reasons = _reasons(step)
        checked = _upgrade_check(step)
        if checked is not None:
            for line in checked.stdout.splitlines() if checked.status else ():
                self.log.warning("%s", line)
            said = checked.stdout.strip() or checked.stderr.strip()
            reasons += why_not_upgrade_check(checked.status, said, step.release, step.node.name)
        _refuse(reasons, Phase.EXPAND, safe="nothing was changed; every node serves as before.")
        return record(
            f"nothing forbids to change the schema of {step.fleet.database.name} on {facts.login.version}",
            changed=False,
            server=facts.login.version,
            heads=list(facts.heads),
            upgrade_check=checked.status if checked else None,
        )


def refuse_expand(step: NodeStep) -> None:
    """Raise PrecheckError where expand must not begin now. The upgrade check asks what does not change by itself, and
    is left to ``check_database``: it takes seconds, in which the new node is out of rotation."""
    _refuse(_reasons(step)[1], Phase.EXPAND, safe="the schema was not changed; the other nodes serve.")


def refuse_contract(step: NodeStep) -> None:
    """Raise PrecheckError where the server, the login or an open transaction stands against contract now."""
    facts = read_facts(step.fleet, step.profile)
    reasons = [*_about_login(step, facts), *_about_transactions(step, facts)]
    _refuse(reasons, Phase.CONTRACT, safe="the schema was not changed; every node serves with it as it is.")


def _reasons(step: NodeStep) -> tuple[DatabaseFacts, list[Reason]]:
    catalogue = load_catalogue()
    target = catalogue.release(step.release)
    facts = read_facts(step.fleet, step.profile)
    expanded = target.heads.phase_is_done(Phase.EXPAND, facts.heads)
    # As in plan: a node that the run leaves alone is no obstacle before contract. Expand itself asks them all.
    alone = set(step.fleet.node_names) - set(step.plan.nodes) if expanded else ()
    nodes = read_nodes(step.fleet, step.profile, step.release, may_be_silent=alone)
    runs = {node.name: node.release for node in nodes}
    reasons = [
        *why_not_releases(runs, target, catalogue),
        *why_not_heads(facts.heads, runs, target, catalogue),
        *why_not_leftovers(facts.leftovers),
        *why_not_nodes(nodes),
    ]
    # What has run already needs no privilege and waits for nobody.
    if not target.heads.phase_is_done(Phase.CONTRACT, facts.heads):
        reasons += _about_login(step, facts)
    if not expanded:
        reasons += _about_transactions(step, facts)
    return facts, reasons


def _about_login(step: NodeStep, facts: DatabaseFacts) -> list[Reason]:
    database = step.fleet.database
    return [
        *why_not_server(facts.login.version),
        *why_not_login(
            facts.login,
            database.name,
            sets_trust=database.set_log_bin_trust,
            why_cannot_set=facts.why_trust_cannot_be_set,
        ),
    ]


def _about_transactions(step: NodeStep, facts: DatabaseFacts) -> list[Reason]:
    database = step.fleet.database
    return why_not_transactions(
        facts.transactions,
        schema=database.name,
        user=service_login(database).login,
        limit=database.long_transaction_seconds,
    )


def _upgrade_check(step: NodeStep) -> CommandResult | None:
    if not step.profile.status:
        return None
    command = step.profile.upgrade_check_command(step.release)
    return step.ssh.run(command, sudo=step.profile.user, timeout=CHECK_SECONDS)


def _refuse(reasons: Sequence[Reason], phase: Phase, *, safe: str) -> None:
    if reasons:
        raise PrecheckError(
            f"{phase.value} must not begin: " + "; ".join(reason.found for reason in reasons) + ".",
            expected="a server, a login, releases and a schema that allow it, and no transaction that holds it up.",
            safe=safe,
            next_step="; ".join(dict.fromkeys(reason.remedy for reason in reasons)) + "; then clear this task.",
        )
