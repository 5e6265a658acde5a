"""May the next node begin? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

FINISHED = frozenset({"success"})


def unfinished_before(
    index: int, last_steps: Mapping[str, str | None], last_step: str, *, finished: Collection[str] = FINISHED
) -> Sequence[int]:
    """Positions before ``index`` whose last step has not finished, in order.

    ``last_steps`` is Airflow's answer, ``{"<task_id>_<map_index>": state}``; a key that is missing means that the
    step has not even begun, and that is not finished.
    """
    return [i for i in range(index) if last_steps.get(f"{last_step}_{i}") not in finished]
