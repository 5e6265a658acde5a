"""What is known of a dump: its age, its room, what a restore must show, which ones stay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rolling_upgrade.decisions.backups import (
    Contents,
    Manifest,
    surplus,
    why_differs,
    why_no_space,
    why_too_old,
)
from rolling_upgrade.decisions.claims import Holder

HELD = Contents({"images": 10, "log": 0}, {"triggers": 1, "routines": 0}, ("a",))
MANIFEST = Manifest(
    file="glance-1.sql.gz", fleet="lab", database="glance",
    run={"airflow": "http://a", "dag_id": "d", "run_id": "r"},
    begun="2026-01-02T00:00:00.000+00:00", ended="2026-01-02T00:01:00.000+00:00", bytes=1, sha256="0", tool="t",
    server_version="10.11", character_set="utf8mb4", collation="utf8mb4_bin", contents=HELD,
)  # fmt: skip


def test_what_is_written_down_is_read_back() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"contents": 1}', MANIFEST.to_json().replace("sha256", "x")])
def test_what_describes_no_dump_is_no_description(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one too
        Manifest.from_json(text)


def test_a_description_that_knows_more_is_read() -> None:
    assert Manifest.from_json(json.dumps(json.loads(MANIFEST.to_json()) | {"later": 1})) == MANIFEST


def test_a_description_is_of_one_dump_of_one_fleet_and_one_run() -> None:
    assert MANIFEST.is_of("lab", "glance", "glance-1.sql.gz")
    assert not MANIFEST.is_of("other", "glance", "glance-1.sql.gz")
    assert not MANIFEST.is_of("lab", "cinder", "glance-1.sql.gz")
    assert not MANIFEST.is_of("lab", "glance", "glance-2.sql.gz")
    assert MANIFEST.is_of_run(Holder("http://a", "d", "r"))
    assert not MANIFEST.is_of_run(Holder("http://b", "d", "r"))


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ("2026-01-03T00:00:00.000+00:00", None),
        ("2026-01-03T01:00:00+01:00", None),
        ("2026-01-03T00:00:01+00:00", "the backup is 24.0 hours old (begun 2026-01-02T00:00:00.000+00:00)"),
        ("2026-01-05T12:00:00+00:00", "the backup is 84.0 hours old (begun 2026-01-02T00:00:00.000+00:00)"),
    ],
)
def test_a_dump_counts_for_so_long(now: str, why: str | None) -> None:
    assert why_too_old(MANIFEST.begun, 24, now) == why


@pytest.mark.parametrize("begun", [None, "", "yesterday", 5, "2026-01-02T00:00:00"])
def test_a_dump_of_unknown_age_is_too_old(begun: object) -> None:
    why = why_too_old(begun, 24, "2026-01-02T00:00:00+00:00")
    assert why is not None
    assert "does not say when" in why


@pytest.mark.parametrize(
    ("factor", "free", "fits"), [(1.0, 100, True), (1.0, 99, False), (0.5, 50, True), (2, 199, False)]
)
def test_room_is_asked_for_by_the_size_of_the_schema(factor: float, free: int, fits: bool) -> None:
    assert (why_no_space(100, factor, free) is None) is fits


def test_the_figures_of_missing_room_are_told() -> None:
    assert why_no_space(10 * 2**20, 1.5, 2**20) == (
        "1.0 MiB are free, and the schema of 10.0 MiB asks for 15.0 MiB (times space_factor 1.5)"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (HELD, []),
        (replace(HELD, rows={"images": 10}), ["it lacks table log"]),
        (replace(HELD, rows={}), ["it lacks 2 tables (images, log)"]),
        (replace(HELD, rows={**HELD.rows, "x": 1}), ["it has table x besides"]),
        (
            replace(HELD, rows={"images": 9, "log": 1}),
            ["images has 9 rows instead of 10", "log has 1 rows instead of 0"],
        ),
        (replace(HELD, stored={"triggers": 0, "routines": 0}), ["it has 0 triggers instead of 1"]),
        (replace(HELD, stored={"triggers": 1}), ["it has None routines instead of 0"]),
        (replace(HELD, heads=("a", "b")), ["it is at a, b instead of a"]),
        (replace(HELD, heads=()), ["it is at no revision instead of a"]),
    ],
)
def test_a_restore_is_compared_in_everything(found: Contents, why: list[str]) -> None:
    assert why_differs(HELD, found) == why


def test_many_tables_are_not_all_named() -> None:
    (why,) = why_differs(replace(HELD, rows={f"t{number}": 1 for number in range(9)}), replace(HELD, rows={}))
    assert why == "it lacks 9 tables (t0, t1, t2, t3, t4, …)"


@pytest.mark.parametrize(("keep", "gone"), [(3, []), (2, ["day 1"]), (1, ["day 2", "day 1"]), (0, ["day 2", "day 1"])])
def test_the_newest_stay(keep: int, gone: list[str]) -> None:
    dumps = [replace(MANIFEST, file=f"day {day}", begun=f"2026-01-0{day}T00:00:00+00:00") for day in (2, 3, 1)]
    assert [found.file for found in surplus(dumps, keep)] == gone
