"""What the lines of a run add up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import median

from include.lab.load.lines import Operation

FAILURES_SHOWN = 20
_SLOW = ("slow_upload", "slow_download")


def summarise(operations: Sequence[Operation]) -> dict[str, object]:
    """Counts, the first failures, and times in seconds, by kind of request and by server."""
    failures = sorted((line for line in operations if not line.ok), key=lambda line: line.at)
    transfers = [line for line in operations if line.op in _SLOW]
    span = _span(operations)
    return {
        "requests": len(operations),
        "failed_requests": len(failures),
        "seconds": round(span, 1),
        "requests_per_second": round(len(operations) / span, 1) if span else 0.0,
        "failures": [asdict(line) for line in failures[:FAILURES_SHOWN]],
        "operations": _by_operation(operations),
        "servers": dict(Counter(line.server for line in operations if line.server).most_common()),
        "longest_transfer_seconds": max((line.seconds for line in transfers), default=0.0),
    }


def _by_operation(operations: Sequence[Operation]) -> dict[str, dict[str, float]]:
    groups: defaultdict[str, list[Operation]] = defaultdict(list)
    for line in operations:
        groups[line.op].append(line)
    return {
        op: {
            "count": len(lines),
            "failed": sum(not line.ok for line in lines),
            "median_seconds": round(median(line.seconds for line in lines), 3),
            "max_seconds": max(line.seconds for line in lines),
        }
        for op, lines in sorted(groups.items())
    }


def _span(operations: Sequence[Operation]) -> float:
    """Seconds from the first request's beginning to the last one's end."""
    if not operations:
        return 0.0
    begins = [(datetime.fromisoformat(line.at).timestamp(), line.seconds) for line in operations]
    return max(at + seconds for at, seconds in begins) - min(at for at, _ in begins)
