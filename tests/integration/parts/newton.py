"""A Glance database as a site on Newton has it, and what must have become of it on Ocata.

Source of the meaning: Glance specification "community-level image sharing" (Ocata), and its data migration.
``is_public`` 1 is visibility public; 0 is shared where the image has members, else private. What Newton itself writes
after expand may be called shared without members as well: such an image too is seen by its owner alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import MariaDB

WITNESS = "witness"
"""A schema beside it: the same rows, with what Newton writes later, and never migrated."""
ROWS_LEFT = """
SELECT COUNT(*) FROM images LEFT JOIN
    (SELECT DISTINCT image_id FROM image_members WHERE NOT deleted) AS members ON members.image_id = images.id
WHERE visibility IS NULL OR (visibility = 'private' AND members.image_id IS NOT NULL)
"""
"""What Ocata's own ``has_migrations`` asks for, counted (glance, ocata_migrate01_community_images.py)."""

# By number: each third is public, each seventh has members (whatever it is), each eleventh had one once, each fiftieth
# is deleted. In the order of ids, as nothing else fits into a million rows in reasonable time.
IMAGES = """
INSERT INTO images (id, name, size, status, is_public, created_at, updated_at, deleted_at, deleted, disk_format,
    container_format, checksum, owner, min_disk, min_ram, protected, virtual_size)
SELECT MD5(seq), IF(seq % 13 = 0, NULL, CONCAT('image ', seq, ', Grüße')), seq * 1024,
    IF(seq % 50 = 0, 'deleted', 'active'), seq % 3 = 0, '2016-10-06' + INTERVAL seq SECOND,
    '2016-11-06' + INTERVAL seq SECOND, IF(seq % 50 = 0, '2016-12-06', NULL), seq % 50 = 0, 'raw', 'bare',
    MD5(CONCAT('content ', seq)), CONCAT('project', seq % 97), seq % 5, seq % 512, seq % 17 = 0, NULL
FROM seq_1_to_{rows} ORDER BY 1
"""
MEMBERS = """
INSERT INTO image_members (image_id, member, can_share, created_at, updated_at, deleted_at, deleted, status)
SELECT MD5(seq), 'project of others', 0, '2016-10-07', NULL, IF(seq % 7 = 0, NULL, '2016-10-08'), seq % 7 <> 0,
    'accepted'
FROM seq_1_to_{rows} WHERE seq % 7 = 0 OR seq % 11 = 0
"""


@dataclass(frozen=True)
class Differences:
    """Rows of images and their members that are not what they must be; each must be 0."""

    lost: int
    added: int
    changed: int
    wrong_visibility: int
    members: int


def fill(database: MariaDB, rows: int) -> None:
    """Write so many images with their members, and the same for the witness."""
    database.run(IMAGES.format(rows=rows), MEMBERS.format(rows=rows), schema=SCHEMA)
    database.run(f"CREATE OR REPLACE DATABASE {WITNESS}")
    for table in ("images", "image_members"):
        database.run(f"CREATE TABLE {WITNESS}.{table} LIKE {SCHEMA}.{table}")
        database.run(f"INSERT INTO {WITNESS}.{table} SELECT * FROM {SCHEMA}.{table}")  # noqa: S608
    database.run("ALTER TABLE images ADD COLUMN written BOOLEAN NOT NULL DEFAULT 0", schema=WITNESS)


def tell_witness(database: MariaDB, writes: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    """Write the same, in the same order, where nothing is migrated. The last parameter of each is the image's id."""
    connection = database.connect(schema=WITNESS)
    try:
        cursor = connection.cursor()
        for statement, parameters in writes:
            cursor.execute(statement, parameters)
            cursor.execute("UPDATE images SET written = 1 WHERE id = %s", parameters[-1:])
    finally:
        connection.close()


def differences(database: MariaDB) -> Differences:
    """Compare each row, column by column, with the witness."""
    both = f"{WITNESS}.images w JOIN {SCHEMA}.images i USING (id)"
    return Differences(
        lost=_count(database, f"{WITNESS}.images w LEFT JOIN {SCHEMA}.images i USING (id) WHERE i.id IS NULL"),
        added=_count(database, f"{SCHEMA}.images i LEFT JOIN {WITNESS}.images w USING (id) WHERE w.id IS NULL"),
        changed=_count(database, f"{both} WHERE NOT ({_same(database, 'images', but=('written', 'is_public'))})"),
        wrong_visibility=_count(
            database,
            f"""{both} LEFT JOIN (SELECT DISTINCT image_id FROM {WITNESS}.image_members WHERE NOT deleted) m
                ON m.image_id = w.id
            WHERE NOT COALESCE(CASE
                WHEN w.is_public THEN i.visibility = 'public'
                WHEN m.image_id IS NOT NULL THEN i.visibility = 'shared'
                WHEN w.written THEN i.visibility IN ('private', 'shared')
                ELSE i.visibility = 'private' END, FALSE)""",  # noqa: S608
        ),
        members=_count(
            database,
            f"{WITNESS}.image_members w JOIN {SCHEMA}.image_members i USING (id) "
            f"WHERE NOT ({_same(database, 'image_members')})",
        )
        + abs(_count(database, f"{WITNESS}.image_members") - _count(database, f"{SCHEMA}.image_members")),
    )


def _same(database: MariaDB, table: str, *, but: Sequence[str] = ()) -> str:
    columns = [row[0] for row in database.run(f"SHOW COLUMNS FROM {WITNESS}.{table}")]
    return " AND ".join(f"w.{name} <=> i.{name}" for name in columns if name not in but)


def _count(database: MariaDB, rest: str) -> int:
    return int(database.run(f"SELECT COUNT(*) FROM {rest}")[0][0])  # noqa: S608
