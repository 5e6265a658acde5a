"""What forbids to change the schema."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolling_upgrade.decisions.schema_checks import (
    Leftover,
    LoginFacts,
    NodeFacts,
    OpenTransaction,
    needs_trust,
    why_not_heads,
    why_not_leftovers,
    why_not_login,
    why_not_nodes,
    why_not_releases,
    why_not_server,
    why_not_transactions,
    why_not_upgrade_check,
)
from rolling_upgrade.fleet.catalogue import Catalogue, Release, load

CATALOGUE = load()
GRANTED = "GRANT ALL PRIVILEGES ON `glance`.* TO `glance`@`%`"
LOGIN = LoginFacts("10.11.14-MariaDB", "glance@%", (GRANTED,), binary_log=True, trusts_creators=False)
OPEN = OpenTransaction("report", "10.0.0.9", "glance", 90, "SELECT *\n  FROM images")


@pytest.mark.parametrize(
    "version",
    [
        "5.5.68-MariaDB",
        "5.5.5-10.11.14-MariaDB",
        "5.6.51-rel91.0-log",
        "5.7.44-log",
        "8.0.36-0ubuntu0.22.04.1",
        "8.4.3",
        "10.0.38-MariaDB",
        "10.11.14-MariaDB-0+deb12u2-log",
        "11.4.2-MariaDB-ubu2404",
    ],
)
def test_a_server_of_a_supported_version(version: str) -> None:
    assert why_not_server(version) == []


@pytest.mark.parametrize("version", ["5.1.73", "5.1.67-MariaDB", "5.3.12-MariaDB-log", "4.1.22", "", "unknown"])
def test_a_server_that_is_too_old_or_does_not_say(version: str) -> None:
    (reason,) = why_not_server(version)
    assert "5.5 is the oldest" in reason.found
    assert version in reason.found


def test_missing_privileges_are_named_with_the_statement_that_grants_them() -> None:
    few = replace(LOGIN, grants=("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON `my_glance`.* TO `g`@`%`",))
    (reason,) = why_not_login(replace(few, binary_log=False), "my_glance", sets_trust=False)
    assert "has no ALTER, DROP, INDEX, REFERENCES, TRIGGER on my_glance" in reason.found
    assert r"`GRANT ALTER, DROP, INDEX, REFERENCES, TRIGGER ON `my\_glance`.* TO 'glance'@'%';`" in reason.remedy


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({}, True),
        ({"binary_log": False}, False),
        ({"trusts_creators": True}, False),
        ({"grants": (GRANTED, "GRANT SUPER ON *.* TO `glance`@`%`")}, False),
        ({"grants": ("GRANT ALL PRIVILEGES ON *.* TO `glance`@`%`",)}, False),
        # What newer servers have beside SUPER: as tried on MariaDB 10.11, as MySQL's sources say.
        ({"grants": (GRANTED, "GRANT BINLOG ADMIN, SET USER ON *.* TO `glance`@`%`")}, True),
        ({"grants": (GRANTED, "GRANT SET_USER_ID ON *.* TO `glance`@`%`")}, True),
        ({"version": "8.0.36", "grants": (GRANTED, "GRANT SET_USER_ID ON *.* TO `glance`@`%`")}, False),
        (
            {"version": "8.0.36", "grants": (GRANTED, "GRANT BINLOG_ADMIN,SYSTEM_VARIABLES_ADMIN ON *.* TO `g`@`%`")},
            True,
        ),
    ],
)
def test_who_makes_triggers_beside_a_binary_log_only_when_trusted(change: dict[str, object], needs: bool) -> None:
    login = replace(LOGIN, **change)  # type: ignore[arg-type]
    assert needs_trust(login, "glance") is needs
    assert bool(why_not_login(login, "glance", sets_trust=False)) is needs
    assert why_not_login(login, "glance", sets_trust=True) == []


def test_a_workflow_that_may_not_set_what_it_should_is_told_so() -> None:
    (reason,) = why_not_login(LOGIN, "glance", sets_trust=True, why_cannot_set="Access denied")
    assert "Access denied" in reason.found
    assert "BINLOG ADMIN" in reason.remedy


def heads(at: str, target: str, **nodes: str | None) -> list[str]:
    return [r.found for r in why_not_heads(at.split(), nodes, CATALOGUE.release(target), CATALOGUE)]


@pytest.mark.parametrize(
    ("at", "target", "nodes"),
    [
        ("2023_1_contract01", "28.1.0", {"n1": "26.1.0", "n2": "26.1.0"}),
        ("2023_1_contract01 2023_1_expand01", "28.1.0", {"n1": "26.1.0"}),
        ("2023_1_contract01 2024_1_expand01", "28.1.0", {"n1": "26.1.0", "n2": "28.1.0", "n3": None}),
        ("2024_1_contract01", "28.1.0", {"n1": "26.1.0", "n2": "28.1.0"}),
        ("2024_1_contract01", "30.1.0", {"n1": "28.1.0"}),
        ("2023_1_contract01", "28.1.0", {"n1": None}),
        ("zed_contract01 2023_1_expand01", "26.1.0", {"n1": "26.1.0"}),
    ],
)
def test_a_schema_on_the_way_fits(at: str, target: str, nodes: dict[str, str | None]) -> None:
    assert heads(at, target, **nodes) == []


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        ({"mitaka02"}, True),
        ({"ocata_expand01"}, True),
        ({"ocata_contract01"}, True),
        ({"mitaka01"}, False),
        (set(), False),
        ({"mitaka01", "ocata_expand01"}, False),
    ],
)
def test_a_release_from_before_the_two_branches_has_one_revision_which_expand_replaces(
    at: set[str], fits: bool
) -> None:
    newton = Release(version="13.0.0", series="Newton", slurp=False, expanded="mitaka02", contracted="mitaka02")
    ocata = Release(
        version="14.0.0", series="Ocata", slurp=False, expanded="ocata_expand01", contracted="ocata_contract01"
    )
    catalogue = Catalogue(service="glance", releases=(newton, ocata))

    assert (why_not_heads(sorted(at), {"n1": "13.0.0"}, ocata, catalogue) == []) is fits


@pytest.mark.parametrize(
    ("at", "target", "nodes", "word"),
    [
        ("zed_contract01", "28.1.0", {"n1": "26.1.0"}, "n1 runs 26.1.0, which needs 2023_1_contract01"),
        ("", "28.1.0", {"n1": "26.1.0"}, "the schema is at no revision"),
        ("2023_1_contract01 other", "28.1.0", {"n1": "26.1.0", "n2": "26.1.0"}, "n1, n2 runs 26.1.0"),
        ("2023_1_contract01", "28.1.0", {"n1": "28.1.0"}, "needs 2024_1_expand01 or 2024_1_contract01"),
        ("2023_1_contract01", "30.1.0", {"n1": "28.1.0"}, "n1 runs 28.1.0, which needs 2024_1_contract01"),
        ("2023_1_contract01 2024_1_expand01", "30.1.0", {"n1": "28.1.0"}, "never contracted"),
    ],
)
def test_a_schema_of_another_release_does_not(at: str, target: str, nodes: dict[str, str | None], word: str) -> None:
    (found,) = heads(at, target, **nodes)
    assert word in found


def test_a_jump_over_a_release_is_refused_by_the_node_that_would_make_it() -> None:
    runs = {"n1": "26.1.0", "n2": "28.1.0", "n3": "30.1.0", "n4": None}
    (reason,) = why_not_releases(runs, CATALOGUE.release("30.1.0"), CATALOGUE)
    assert "n1 runs 26.1.0: 26.1.0 (2023.1) to 30.1.0 (2025.1) skips a release" in reason.found


def test_leftovers_count_where_there_are_rows_or_the_column_itself_is_left() -> None:
    rows, column = (
        Leftover("Train", "rows are old", 3, "run it"),
        Leftover("Ocata", "is_public is there", None, "end it"),
    )
    assert [r.found for r in why_not_leftovers([rows, replace(rows, rows=0), column])] == [
        "the data migration of Train was never run: 3 rows are old",
        "the data migration of Ocata was never run: is_public is there",
    ]


def long(*transactions: OpenTransaction, limit: int = 30) -> str:
    reasons = why_not_transactions(transactions, schema="glance", user="glance", limit=limit)
    return "; ".join(reason.found for reason in reasons)


def test_a_long_transaction_is_named_with_user_host_age_and_query() -> None:
    assert long(OPEN).endswith("report from 10.0.0.9, open for 90 s, runs `SELECT * FROM images`")
    assert "idle" in long(replace(OPEN, query=""))
    assert len(long(replace(OPEN, query="SELECT " + "x" * 5000))) < 400


def test_transactions_that_end_soon_or_are_of_others_schemas_do_not_count() -> None:
    assert long(replace(OPEN, seconds=29)) == ""
    assert long(replace(OPEN, schema="nova")) == ""
    assert long(replace(OPEN, schema="nova", user="glance"))
    assert long(replace(OPEN, schema=None))
    assert "prepared XA" in long(replace(OPEN, user=None, host="", schema=None, query=""))


def test_old_parts_of_the_service_are_named_by_node() -> None:
    fine = NodeFacts("n1", "26.1.0")
    reasons = why_not_nodes(
        [fine, replace(fine, name="n2", options=("enable_v1_api = true",), programs=("pid 7 (x)",))]
    )
    assert [reason.found for reason in reasons] == [
        "n2 is configured for Images API v1 or the Registry: enable_v1_api = true",
        "n2 runs the Registry: pid 7 (x)",
    ]


@pytest.mark.parametrize("status", [None, 0, 1])
def test_an_upgrade_check_that_passes_or_warns(status: int | None) -> None:
    assert why_not_upgrade_check(status, "said", "28.1.0", "n1") == []


@pytest.mark.parametrize(("status", "word"), [(2, "has a failure: said"), (255, "ended with 255"), (127, "127: said")])
def test_an_upgrade_check_that_fails_or_cannot_be_made(status: int, word: str) -> None:
    (reason,) = why_not_upgrade_check(status, "said", "28.1.0", "n1")
    assert word in reason.found
