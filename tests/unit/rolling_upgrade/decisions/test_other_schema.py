"""A dump's lines for another schema."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.other_schema import for_schema

EVENT = (
    b"/*!50106 CREATE*/ /*!50117 DEFINER=`a``b`@`%`*/ /*!50106 EVENT `e` "
    b"ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE ENABLE DO SELECT 'ENABLE' */ ;;\n"
)


def changed(line: bytes, *, on_trial: bool = False, own: bool = False) -> bytes:
    (result,) = for_schema([line], "glance", "scratch", on_trial=on_trial, own=own)
    return result


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (b"CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()\n", b"CREATE PROCEDURE `p`()\n"),
        (b"CREATE DEFINER=`role` FUNCTION `f`() RETURNS int\n", b"CREATE FUNCTION `f`() RETURNS int\n"),
        (
            b"/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`%`*/ /*!50003 TRIGGER t BEFORE INSERT ON i FOR EACH ROW",
            b"/*!50003 CREATE*/ /*!50017 */ /*!50003 TRIGGER t BEFORE INSERT ON i FOR EACH ROW",
        ),
        (b"/*!50013 DEFINER=`root`@`%` SQL SECURITY DEFINER */\n", b"/*!50013 SQL SECURITY DEFINER */\n"),
        (b"(1,'CREATE DEFINER=`root`@`%` PROCEDURE')\n", b"(1,'CREATE DEFINER=`root`@`%` PROCEDURE')\n"),
    ],
)
def test_objects_become_the_login_s_own_where_that_is_asked(line: bytes, result: bytes) -> None:
    assert changed(line, own=True) == result
    assert changed(line) == line


def test_an_event_does_not_run_on_trial() -> None:
    assert b"ON COMPLETION NOT PRESERVE DISABLE DO SELECT 'ENABLE'" in changed(EVENT, on_trial=True)
    assert changed(EVENT) == EVENT


def test_the_schema_that_serves_is_not_altered() -> None:
    assert (
        changed(b"ALTER DATABASE `glance` CHARACTER SET latin1 ;\n")
        == b"ALTER DATABASE `scratch` CHARACTER SET latin1 ;\n"
    )
    assert changed(b"(1,'ALTER DATABASE `glance`')\n") == b"(1,'ALTER DATABASE `glance`')\n"


@pytest.mark.parametrize(
    ("made", "becomes"),
    [
        (b"glance.t BEFORE INSERT ON glance.i", b"t BEFORE INSERT ON i"),
        (b"`glance` . `t` BEFORE INSERT\tON `glance`.`i`", b" `t` BEFORE INSERT\tON `i`"),
        (b"IF NOT EXISTS glance.t BEFORE INSERT ON i", b"IF NOT EXISTS t BEFORE INSERT ON i"),
        (b"glances.t BEFORE INSERT ON `a.glance`", b"glances.t BEFORE INSERT ON `a.glance`"),
    ],
)
def test_a_trigger_is_made_where_the_dump_is_restored(made: bytes, becomes: bytes) -> None:
    body = b" FOR EACH ROW INSERT INTO glance.log SELECT 1 FROM a JOIN b ON glance.a.x = 1 */;;\n"
    line = b"/*!50003 CREATE*/ /*!50003 TRIGGER "
    assert changed(line + made + body) == line + becomes + body
