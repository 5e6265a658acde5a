"""What an alert says, in each of the forms in which it is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

UNMAPPED = -1
_FOUR_LINES = re.compile(
    r"^Found: (?P<found>.*?)\nExpected: (?P<expected>.*?)\nSafe now: (?P<safe>.*?)\nNext: (?P<next>.*)$", re.DOTALL
)


class What(StrEnum):
    """What happened."""

    FAILED = "failed"
    HOLDS = "holds"
    """The task waits for a person's decision."""


@dataclass(frozen=True)
class Alert:
    """One thing that a person should know. It holds names and a message, and never a secret."""

    fleet: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    """UNMAPPED for a task that is not mapped."""
    node: str | None
    what: What
    message: str
    """As the task's log has it: found, expected, safe now, next."""
    link: str
    """The task instance's page in Airflow."""

    @property
    def where(self) -> str:
        """The task, with its node where it has one, else with its map index where it has that."""
        if self.node:
            return f"{self.task_id} of {self.node}"
        return self.task_id if self.map_index == UNMAPPED else f"{self.task_id} [{self.map_index}]"

    @property
    def subject(self) -> str:
        """One line, whatever the names hold: it becomes a header."""
        return " ".join(f"[{self.fleet}] {self.where} {self.what}".split())

    @property
    def text(self) -> str:
        return f"{self.subject}\n\n{self.message}\n\n{self.link}\nWorkflow: {self.dag_id}\nRun: {self.run_id}\n"

    @property
    def json(self) -> dict[str, str | int | None]:
        """``text`` is the whole alert, which chat services show; the rest is for programs.

        A message that is not of the four lines leaves ``found`` to ``next`` empty.
        """
        lines = _FOUR_LINES.match(self.message)
        return {
            "text": self.text,
            "fleet": self.fleet,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "node": self.node,
            "what": self.what.value,
            "message": self.message,
            **{name: lines[name] if lines else None for name in ("found", "expected", "safe", "next")},
            "link": self.link,
        }


def task_page(base_url: str, dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """The address of a task instance's page, below Airflow's ``api.base_url``."""
    parts = ["dags", dag_id, "runs", run_id, "tasks", task_id]
    if map_index != UNMAPPED:
        parts += ["mapped", str(map_index)]
    return "/".join([base_url.rstrip("/"), *(quote(part, safe="") for part in parts)])
