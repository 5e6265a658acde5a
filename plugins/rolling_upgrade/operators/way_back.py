"""The way back ends where contract begins: a run that goes back asks the database before each node."""

from __future__ import annotations

from rolling_upgrade.decisions.rollback import RESTORE, serves
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.contract_mark import contract_began
from rolling_upgrade.hooks.database import DatabaseHook


def refuse_contracted(fleet: Fleet, release: str, *, safe: str, next_step: str) -> None:
    """Raise PrecheckError where the schema no longer serves the release that a node is to go back to.

    ``plan`` asks the same; but a run may be cleared and go on days after its plan, when another has contracted since.
    Raises UnreachableError as well.
    """
    found = DatabaseHook(fleet.database).heads()
    catalogue, begun = load_catalogue(), contract_began(fleet.database)
    if serves(catalogue.release(release), found, catalogue.release(begun) if begun else None):
        return
    raise PrecheckError(
        f"the database is at {', '.join(found) or 'no revision'}, and contract "
        f"{f'to {begun} has begun' if begun else 'has run'}: {release} cannot use it.",
        expected=f"a schema that still serves {release}.",
        safe=safe,
        next_step=f"{next_step}; {RESTORE}.",
    )
