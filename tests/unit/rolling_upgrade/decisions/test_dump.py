"""What stands in a dump, and is it whole?"""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.dump import content_of, why_not_whole

MARIADB = rb"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.14-MariaDB
-- Position to start replication or point-in-time recovery from
-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=7014;
-- SET GLOBAL gtid_slave_pos='0-1-33';
DROP TABLE IF EXISTS `alembic_version`;
CREATE TABLE `alembic_version` (
  `version_num` varchar(32) NOT NULL
) ENGINE=InnoDB;
INSERT INTO `alembic_version` VALUES
('head_b'),
('head_a');
CREATE TABLE `images` (
  `name` varchar(64) DEFAULT '(',
) ENGINE=InnoDB;
INSERT INTO `images` VALUES
(1,'/*!50003 CREATE*/ TRIGGER',0x00FF),
(2,'),(\n\'); INSERT INTO `images` VALUES (9)\\',NULL),
(3,'CREATE TABLE `x` (',-1.5e3);
INSERT INTO `images` VALUES
(4,'it ends here;',NULL);
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON images
FOR EACH ROW SET NEW.id = 1 */;;
DELIMITER ;
CREATE TABLE `odd ``name (1)` (
  `id` int(11) NOT NULL
) ENGINE=InnoDB;
INSERT INTO `odd ``name (1)` (`id`, `with (paren`) VALUES
(1,2);
CREATE TABLE `empty` (
/*!50001 CREATE VIEW `v` AS SELECT
 1 AS `name` */;
DELIMITER ;;
/*!50106 CREATE*/ /*!50117 DEFINER=`root`@`localhost`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1 */ ;;
DELIMITER ;
DELIMITER ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
BEGIN
INSERT INTO `images` VALUES
(5,'of the routine',NULL);
CREATE TABLE `of_the_routine` (id INT);
USE `of_the_routine`;
END ;;
DELIMITER ;
DELIMITER ;;
CREATE DEFINER=`root`@`localhost` FUNCTION `f`() RETURNS int(11)
RETURN 1 ;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `v` AS select `images`.`name` AS `name` from `images` */;

-- Dump completed on 2026-01-01
"""
MYSQL = rb"""-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000002', SOURCE_LOG_POS=157;
CREATE TABLE `alembic_version` (
  `version_num` varchar(32) NOT NULL
) ENGINE=InnoDB;
INSERT INTO `alembic_version` VALUES ('head_a'),('head_b');
CREATE TABLE `images` (
  `id` int NOT NULL,
) ENGINE=InnoDB;
INSERT INTO `images` VALUES (1,'),(',_binary '\0\'('),(2,'\\',NULL);
INSERT INTO `images` VALUES (3,'(',0x00);
-- Dump completed on 2026-01-01 10:00:00
"""
SCHEMA = {"tables": 4, "triggers": 1, "routines": 2, "events": 1, "views": 1}


def lines(text: bytes) -> list[bytes]:
    # Not splitlines, which takes more than a line feed for an end.
    return [line + b"\n" for line in text.split(b"\n")]


def test_rows_are_counted_whatever_they_hold() -> None:
    found = content_of(lines(MARIADB))
    assert found.rows == {"alembic_version": 2, "images": 4, "odd `name (1)": 1, "empty": 0}
    assert found.heads == ["head_b", "head_a"]
    assert found.stored == {"triggers": 1, "routines": 2, "events": 1, "views": 1}
    assert found.position == {"file": "binlog.000001", "offset": "7014", "gtid": "0-1-33"}


def test_rows_behind_their_values_are_counted_too() -> None:
    found = content_of(lines(MYSQL))
    assert found.rows == {"alembic_version": 2, "images": 3}
    assert found.heads == ["head_a", "head_b"]
    assert found.position == {"file": "binlog.000002", "offset": "157"}
    nothing_stored = dict.fromkeys(("triggers", "routines", "events", "views"), 0)
    assert why_not_whole(found, {"tables": 2, **nothing_stored}) == []


def test_a_whole_dump_has_everything_and_its_last_line() -> None:
    assert why_not_whole(content_of(lines(MARIADB)), SCHEMA) == []


@pytest.mark.parametrize("kind", SCHEMA)
def test_what_the_login_could_not_see_is_missed(kind: str) -> None:
    reasons = why_not_whole(content_of(lines(MARIADB)), {**SCHEMA, kind: SCHEMA[kind] + 1})
    assert reasons == [f"it holds {SCHEMA[kind]} of {SCHEMA[kind] + 1} {kind}"]


@pytest.mark.parametrize("size", [0, 1, 60, len(MARIADB) - 35])
def test_a_dump_that_was_cut_is_not_whole(size: int) -> None:
    assert any("it ends with" in reason for reason in why_not_whole(content_of(lines(MARIADB[:size])), SCHEMA))


@pytest.mark.parametrize(
    "statement",
    [b"USE `glance`;\n", b"CREATE DATABASE `glance`;\n", b"/*!40000 DROP DATABASE IF EXISTS `glance`*/;\n",
     b"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `glance`;\n"],
)  # fmt: skip
def test_a_dump_that_names_schemas_is_not_one_of_one_schema(statement: bytes) -> None:
    assert why_not_whole(content_of(lines(statement + MARIADB)), SCHEMA) == [
        "it names a schema itself, so it is not a dump of one schema"
    ]
