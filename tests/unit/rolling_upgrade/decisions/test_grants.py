"""Reading what SHOW GRANTS says, as MariaDB and MySQL say it."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.grants import held

WANTED = ("CREATE", "ALTER", "TRIGGER")
USAGE = "GRANT USAGE ON *.* TO `glance`@`%` IDENTIFIED BY PASSWORD '*7B9E'"


@pytest.mark.parametrize(
    "line",
    [
        "GRANT ALL PRIVILEGES ON `glance`.* TO `glance`@`%`",
        "GRANT ALL PRIVILEGES ON *.* TO `glance`@`%` IDENTIFIED BY PASSWORD '*7B9E' WITH GRANT OPTION",
        "GRANT CREATE, ALTER, TRIGGER ON `glance`.* TO `glance`@`%`",
        "GRANT SELECT, CREATE, ALTER, TRIGGER ON *.* TO `glance`@`%`",
        'GRANT CREATE, ALTER, TRIGGER ON "glance".* TO "glance"@"%"',
        "GRANT CREATE, ALTER, TRIGGER ON glance.* TO glance@%",
        "GRANT CREATE, ALTER, TRIGGER ON `gl%`.* TO `glance`@`%`",
        "GRANT CREATE, ALTER, TRIGGER ON `glanc_`.* TO `glance`@`%`",
        "GRANT CREATE,ALTER,TRIGGER ON *.* TO `glance`@`%`",
    ],
)
def test_what_is_granted_on_the_schema_or_everywhere_is_held(line: str) -> None:
    assert held([USAGE, line], "glance").missing(WANTED) == []


@pytest.mark.parametrize(
    "line",
    [
        USAGE,
        "GRANT ALL PRIVILEGES ON `glance2`.* TO `glance`@`%`",
        "GRANT ALL PRIVILEGES ON `glance`.`images` TO `glance`@`%`",
        "GRANT CREATE (`id`), ALTER ON `glance`.`images` TO `glance`@`%`",
        "GRANT `admin` TO `glance`@`%`",
        "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION",
        "GRANT EXECUTE ON PROCEDURE `glance`.`p` TO `glance`@`%`",
        "SET DEFAULT ROLE `admin` FOR `glance`@`%`",
        "",
    ],
)
def test_what_is_granted_elsewhere_is_not(line: str) -> None:
    assert held([line], "glance").missing(WANTED) == list(WANTED)


def test_only_what_is_missing_is_named() -> None:
    assert held(["GRANT SELECT, CREATE ON `glance`.* TO `g`@`%`"], "glance").missing(WANTED) == ["ALTER", "TRIGGER"]


@pytest.mark.parametrize("escaped", [r"my\_glance", r"my\\_glance"])
def test_an_escaped_letter_stands_for_itself(escaped: str) -> None:
    line = f"GRANT ALL PRIVILEGES ON `{escaped}`.* TO `g`@`%`"
    assert held([line], "my_glance").missing(WANTED) == []
    assert held([line], "my-glance").missing(WANTED) == list(WANTED)


def test_privileges_of_the_server_are_held_everywhere_or_not_at_all() -> None:
    assert held(["GRANT SUPER, PROCESS ON *.* TO `g`@`%`"], "glance").has_any_everywhere(["SUPER"])
    assert held(["GRANT ALL PRIVILEGES ON *.* TO `g`@`%`"], "glance").has_any_everywhere(["SUPER"])
    assert not held(["GRANT BINLOG ADMIN ON *.* TO `g`@`%`"], "glance").has_any_everywhere(["SUPER"])
    assert not held(["GRANT ALL PRIVILEGES ON `glance`.* TO `g`@`%`"], "glance").has_any_everywhere(["SUPER"])


def test_a_partial_revoke_takes_away_what_was_given_everywhere() -> None:
    lines = ["GRANT CREATE, ALTER, TRIGGER ON *.* TO `g`@`%`", "REVOKE TRIGGER ON `glance`.* FROM `g`@`%`"]
    assert held(lines, "glance").missing(WANTED) == ["TRIGGER"]
    assert held(lines, "keystone").missing(WANTED) == []
