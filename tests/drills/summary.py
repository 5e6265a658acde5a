"""The table of a session's drills, as text."""

from __future__ import annotations

from collections.abc import Sequence

from tests.drills.runner import Outcome

OUTCOMES: list[Outcome] = []
"""Of this session, in the order in which the rows began."""
HEAD = ("drill", "fault", "step", "what happened", "requests", "failed (allowed)", "duration", "verdict")


def table(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    """Lines of a table in Markdown, and one with the sums."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(cells(outcome) for outcome in outcomes)]
    passed = sum(outcome.passed for outcome in outcomes)
    requests, failed = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("requests", "failed"))
    allowed = sum(outcome.allowed for outcome in outcomes)
    sums = f"{requests} requests, {failed} failed, {allowed} of them the fault's own"
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, "", f"{passed} of {len(outcomes)} drills as the table says; {sums}; {seconds / 60:.0f} minutes"]


def cells(outcome: Outcome) -> tuple[str, ...]:
    """One row, as wide as HEAD."""
    drill = outcome.drill
    return (
        drill.name,
        str(drill.fault),
        drill.step,
        "; ".join(outcome.happened).replace("|", "/") or "nothing",
        str(outcome.requests),
        f"{outcome.failed} ({outcome.allowed})",
        f"{outcome.seconds:.0f} s",
        "as it must" if outcome.passed else "NOT as it must",
    )
