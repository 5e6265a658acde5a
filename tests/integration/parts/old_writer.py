"""A node on Newton, as far as the database sees it: it writes images, and knows ``is_public`` alone."""

from __future__ import annotations

import random
import threading
import time
from hashlib import md5
from typing import Any, Self

from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import SERVICE, MariaDB

PAUSE_SECONDS = 0.005
INSERT = """
INSERT INTO images (name, size, status, is_public, created_at, updated_at, deleted, disk_format, container_format,
    owner, min_disk, min_ram, protected, id)
VALUES (%s, 1024, 'active', %s, '2017-01-01', '2017-01-01', 0, 'raw', 'bare', 'project of Newton', 0, 0, 0, %s)
"""
PUBLISH = "UPDATE images SET is_public = %s, updated_at = '2017-01-02' WHERE id = %s"
# Newton saves an image as a whole, also what has not changed.
SAVE = "UPDATE images SET name = %s, is_public = is_public, updated_at = '2017-01-03' WHERE id = %s"
TRY_AGAIN = (1205, 1213)
"""Lock wait timeout and deadlock: a service tries again."""


class OldWriter:
    """Writes in a thread of its own, over a session from outside of the fleet, until it is ended."""

    def __init__(self, database: MariaDB, rows: int) -> None:
        self._connection = database.connect(SERVICE, SCHEMA, local=True)
        self._rows = rows
        self._random = random.Random(rows)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="old-writer")
        self._error: BaseException | None = None
        self.writes: list[tuple[str, tuple[Any, ...]]] = []
        """All that it wrote, in order, with the image's id as the last parameter."""
        self.slowest = 0.0
        """Seconds that one write took at most."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop, and close the session. Raises what went wrong in it. Repeats change nothing."""
        self._end.set()
        self._thread.join()
        self._connection.close()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._end.wait(PAUSE_SECONDS):
                self._write()
        except BaseException as error:  # noqa: BLE001 - told by end()
            self._error = error

    def _write(self) -> None:
        number = len(self.writes)
        known = md5(str(self._random.randint(1, self._rows)).encode(), usedforsecurity=False).hexdigest()
        choices: list[tuple[str, tuple[Any, ...]]] = [
            (INSERT, (f"new {number}", number // 4 % 2, f"newton-{number}")),
            (PUBLISH, (self._random.randint(0, 1), known)),
            (SAVE, (f"saved {number}", known)),
            (PUBLISH, (number // 8 % 2, f"newton-{number // 4 * 4}")),
        ]
        statement, parameters = choices[number % 4]
        began = time.monotonic()
        while not self._done(statement, parameters):
            pass
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.writes.append((statement, parameters))
        if statement is not SAVE:
            self._read_back(bool(parameters[-2]), parameters[-1])

    def _done(self, statement: str, parameters: tuple[Any, ...]) -> bool:
        import MySQLdb

        try:
            self._connection.cursor().execute(statement, parameters)
        except MySQLdb.OperationalError as error:
            if error.args[0] not in TRY_AGAIN:
                raise
            return False
        return True

    def _read_back(self, public: bool, image: str) -> None:
        cursor = self._connection.cursor()
        cursor.execute("SELECT is_public FROM images WHERE id = %s", (image,))
        ((found,),) = cursor.fetchall()
        if bool(found) != public:
            raise AssertionError(f"{image} was written with is_public {public} and reads as {found}")
