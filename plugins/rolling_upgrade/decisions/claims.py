"""Whether a run may change a fleet: only one may, of whatever workflow and whatever Airflow. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from rolling_upgrade.errors import HeldError


@dataclass(frozen=True)
class Holder:
    """One run, so that no other is taken for it."""

    airflow: str
    """``api.base_url`` of its Airflow, empty where that is not set."""
    dag_id: str
    run_id: str

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.dag_id} ({self.airflow or 'an Airflow without api.base_url'})"


class RunState(Enum):
    """What can be known of the run that holds a fleet."""

    ALIVE = "queued or running"
    """Also one whose tasks have failed and that waits for a person."""
    OVER = "over"
    MISSING = "not known to this Airflow"
    ELSEWHERE = "in another Airflow, which cannot be asked"


class Decision(Enum):
    CLAIM = "the fleet is free"
    MINE = "this run holds it"
    TAKE_OVER = "the run that held it is over"
    REFUSE = "another run holds it"


def is_asked(holder: Holder | None, me: Holder) -> bool:
    """Whether this Airflow is to be asked for the holder's state before one decides."""
    return holder is not None and holder != me and holder.airflow == me.airflow


def decide(holder: Holder | None, me: Holder, state: RunState = RunState.ELSEWHERE) -> Decision:
    """``state`` is the holder's, and counts only where ``is_asked`` says so."""
    if holder is None:
        return Decision.CLAIM
    if holder == me:
        return Decision.MINE
    if not is_asked(holder, me):
        return Decision.REFUSE
    gone = state is RunState.MISSING and is_of_one_airflow(holder.airflow)
    return Decision.TAKE_OVER if gone or state is RunState.OVER else Decision.REFUSE


def is_of_one_airflow(url: str) -> bool:
    """Whether no two Airflows have this address: False for loopback, a bare host name, and none at all.

    A run that is not found behind such an address was perhaps not deleted, but is another Airflow's.
    """
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." in host.strip(".")


def refusal(fleet: str, holder: Holder, me: Holder, state: RunState, release_statement: str) -> HeldError:
    """What the refused run says. ``release_statement`` is the SQL that ends the claim by hand."""
    return HeldError(
        f"fleet {fleet} is held by {holder}, which is {_known(holder, me, state)}.",
        expected="no other run that may still change this fleet.",
        next_step=_next_step(holder, me, state, release_statement),
    )


def _known(holder: Holder, me: Holder, state: RunState) -> str:
    return state.value if is_asked(holder, me) else RunState.ELSEWHERE.value


def _next_step(holder: Holder, me: Holder, state: RunState, release_statement: str) -> str:
    if is_asked(holder, me) and state is RunState.ALIVE:
        return (
            "let that run end, or mark it failed in Airflow; then trigger a new run, or clear this task in a run "
            "that had begun."
        )
    by_hand = f"when that run is known to be over, release the fleet in its database server: {release_statement}"
    if (holder.dag_id, holder.run_id) == (me.dag_id, me.run_id):
        return f"set api.base_url alike for every worker and the triggerer (here it is {me.airflow!r}). Else, {by_hand}"
    if is_asked(holder, me):
        return f"set api.base_url to an address that is this Airflow's alone; and {by_hand}"
    return f"look at that run in its own Airflow; {by_hand}"
