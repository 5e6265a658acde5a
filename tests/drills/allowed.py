"""Which failed requests are the fault's own, and not the rollout's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from include.lab.load.lines import Operation

NOT_MADE = "not made: its create failed"
"""As the load's audit names an image whose create got no answer."""


@dataclass(frozen=True)
class Cut:
    """What a fault cuts by itself: the requests of one balancer or one node that were open in that time."""

    since: datetime
    until: datetime
    balancer: str | None = None
    node: str | None = None
    answers_5xx: bool = False
    """The node answers with errors, and cuts nothing."""

    def allows(self, line: Operation) -> bool:
        """Whether this failure is the fault's own."""
        began = datetime.fromisoformat(line.at)
        open_then = began < self.until and began + timedelta(seconds=line.seconds) > self.since
        there = line.balancer == self.balancer if self.balancer else line.server == self.node
        kind = not self.answers_5xx or (line.status or 0) >= 500
        return open_then and there and kind


@dataclass(frozen=True)
class Judged:
    """The failures of one drill, told apart."""

    allowed: tuple[Operation, ...]
    attributable: tuple[Operation, ...]
    images_attributable: tuple[Mapping[str, Any], ...]
    """Images left in a wrong state that no allowed failure explains."""


def judge(lines: Iterable[Operation], wrong: Sequence[Mapping[str, Any]], cuts: Sequence[Cut]) -> Judged:
    """Tell failures that the faults themselves made from those that the rollout must answer for."""
    failed = [line for line in lines if not line.ok]
    allowed = [line for line in failed if any(cut.allows(line) for cut in cuts)]
    explained = {line.image for line in allowed if line.image}
    # A create that got no answer has no id to know its image by, so these are counted.
    nameless = sum(line.op == "create" and line.image is None for line in allowed)
    left = []
    for one in wrong:
        if one["image"] in explained:
            continue
        if one["expected"] == NOT_MADE and nameless:
            nameless -= 1
            continue
        left.append(one)
    return Judged(tuple(allowed), tuple(line for line in failed if line not in allowed), tuple(left))
