"""From records to a report."""

from __future__ import annotations

from rolling_upgrade.evidence.record import record
from rolling_upgrade.evidence.report import NodeRecords, as_lines, node_report

OUT = {"changed": True, "at": "2026-01-01T00:00:00.000+00:00"}
DRAINED = {"changed": True, "at": "2026-01-01T00:00:07.500+00:00"}
BACK = {"changed": True, "at": "2026-01-01T00:00:31.250+00:00"}


def test_times_run_from_the_drain_that_was_set() -> None:
    assert node_report(NodeRecords("node1", OUT, DRAINED, BACK), "28.1.0") == {
        "name": "node1",
        "release_proven": "28.1.0",
        "out_of_rotation_s": 31.25,
        "drain_s": 7.5,
        "drain_progress": [],
        "cut": None,
        "answers": [],
    }


def test_what_was_decided_about_a_drain_is_kept_with_who_decided() -> None:
    cut = {"by": "ops", "at": BACK["at"], "open": ["192.0.2.7:4711 for 3600 s through lb1"]}
    answers = [{"answer": "wait on", "by": "ops", "at": "then"}, {"answer": "cut", "by": "ops", "at": "later"}]
    drained = {**DRAINED, "progress": [[0.5, 3], [7.0, 1]], "cut": cut}
    node = node_report(NodeRecords("node1", OUT, drained, BACK, answers), "28.1.0")

    assert node["drain_progress"] == [[0.5, 3], [7.0, 1]]
    report = {"fleet": "lab", "from_release": "26.1.0", "to_release": "28.1.0", "duration_s": 1.0, "db_check": 0}
    assert as_lines({**report, "db_heads": [], "nodes": [node]})[-1].endswith(
        "; ops answered 'wait on'; ops answered 'cut'; CUT by choice of ops: 192.0.2.7:4711 for 3600 s through lb1"
    )


def test_a_node_passed_over_was_never_out() -> None:
    still = {"changed": False, "at": BACK["at"], "passed_over": True}
    report = node_report(NodeRecords("node1", still, still, still), "28.1.0")
    assert (report["out_of_rotation_s"], report["drain_s"]) == (0.0, 0.0)


def test_a_time_that_is_not_on_record_is_not_made_up() -> None:
    again = {"changed": False, "at": DRAINED["at"]}
    for take_out in (None, again):
        assert node_report(NodeRecords("node1", take_out, None, BACK), None)["out_of_rotation_s"] is None


def test_a_record_says_when_and_whether_it_changed_anything() -> None:
    made = record("did it", changed=True, unit="x")
    assert made["did"] == "did it"
    assert made["unit"] == "x"
    assert made["at"].endswith("+00:00")


def test_the_lines_name_every_node() -> None:
    lines = as_lines(
        {
            "fleet": "lab",
            "from_release": "26.1.0",
            "to_release": "28.1.0",
            "duration_s": 100.0,
            "db_check": 0,
            "db_heads": ["2024_1_contract01"],
            "nodes": [node_report(NodeRecords("node1", OUT, DRAINED, BACK), "28.1.0")],
        }
    )
    assert lines[-1] == "node1: proven on 28.1.0, out of rotation 31.2 s (drain 7.5 s)"
