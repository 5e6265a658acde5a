"""Is a dump whole?"""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.dump import content_of, why_not_whole

DUMP = b"""-- MariaDB dump
INSERT INTO `images` VALUES (1,'/*!50003 CREATE*/ TRIGGER');
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON images
/*!50106 CREATE*/ /*!50117 DEFINER=`root`@`localhost`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1 */ ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
CREATE DEFINER=`root`@`localhost` FUNCTION `f`() RETURNS int(11)
CREATE TABLE `images` (

-- Dump completed on 2026-01-01
"""
SCHEMA = {"triggers": 1, "routines": 2, "events": 1}


def test_a_whole_dump_has_everything_and_its_last_line() -> None:
    assert why_not_whole(content_of(DUMP.splitlines(keepends=True)), SCHEMA) == []


@pytest.mark.parametrize("kind", ["triggers", "routines", "events"])
def test_what_the_login_could_not_see_is_missed(kind: str) -> None:
    reasons = why_not_whole(content_of(DUMP.splitlines()), {**SCHEMA, kind: SCHEMA[kind] + 1})
    assert reasons == [f"it holds {SCHEMA[kind]} of {SCHEMA[kind] + 1} {kind}"]


@pytest.mark.parametrize("size", [0, 1, 60, len(DUMP) - 35])
def test_a_dump_that_was_cut_is_not_whole(size: int) -> None:
    assert any("it ends with" in reason for reason in why_not_whole(content_of(DUMP[:size].splitlines()), SCHEMA))
