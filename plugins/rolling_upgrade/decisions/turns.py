"""May the next node begin? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

FINISHED = frozenset({"success"})


def unfinished_before(
    index: int,
    last_steps: Mapping[str, str | None],
    last_step: str,
    first: str | None,
    *,
    finished: Collection[str] = FINISHED,
) -> Sequence[str]:
    """The last steps of the nodes before position ``index`` that have not finished, in order.

    ``first`` is the last step of the node that goes before all of them, if one does. ``last_steps`` is Airflow's
    answer, ``{"<task_id>_<map_index>": state}``, the bare task id for one that is not mapped; a key that is missing
    means that the step has not even begun, and that is not finished.
    """
    before = [*([first] if first else []), *(f"{last_step}_{position}" for position in range(index))]
    return [step for step in before if last_steps.get(step) not in finished]
