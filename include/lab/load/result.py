"""The result of a run: what its lines add up to, how it ended, and what its images are like."""

from __future__ import annotations

from dataclasses import asdict

from include.lab.load.audit import Auditor, AuditUnableError
from include.lab.load.expectations import Wrong, intent_of
from include.lab.load.files import read_json
from include.lab.load.generator import State
from include.lab.load.lines import read_begun, read_operations
from include.lab.load.plan import LoadPlan
from include.lab.load.summary import summarise


def result_so_far(plan: LoadPlan) -> dict[str, object]:
    """What the lines say, without a look at the images; also while the load runs."""
    counters = read_json(plan.files.counters) or {}
    state = counters.get("state")
    return {
        "run": plan.run,
        "started_at": counters.get("started_at"),
        "ended_by_itself": state == State.ENDED,
        "fault_of_the_load": counters.get("detail"),
        "clients": plan.clients,
        "slow_clients": plan.slow,
        "cpu_seconds": counters.get("cpu_seconds"),
        **summarise(read_operations(plan.files.operations)),
    }


def final_result(plan: LoadPlan) -> dict[str, object]:
    """The result with the look at the images. The generator must have ended.

    Where Glance does not answer, ``images_left_wrong`` says so: not looked at is not right.
    """
    intent = intent_of(read_operations(plan.files.operations), read_begun(plan.files.begun))
    auditor = Auditor(plan.run, plan.entrances, plan.request_timeout)
    try:
        audit = auditor.audit(intent)
    except AuditUnableError as error:
        unable = Wrong("unknown", "an answer of Glance about the images", str(error))
        looked: dict[str, object] = {"complete": False, "images_checked": 0, "bytes_read": 0}
        wrong: tuple[Wrong, ...] = (unable,)
    else:
        looked = {"complete": True, "images_checked": audit.images_checked, "bytes_read": audit.bytes_read}
        wrong = audit.wrong
    return {
        **result_so_far(plan),
        "images_left_wrong": [asdict(one) for one in wrong],
        "images_unfinished": len(intent.unfinished) + len(intent.unfinished_names),
        "audit": looked,
    }
