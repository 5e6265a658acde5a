"""The look at the end: asks Glance for every image of a run, reads the contents, removes what is right.

Unlike the load the audit repeats a request that failed: it wants the state of the images, not of the service.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from include.lab.load.connection import Connection, Exchange, WrongAnswerError
from include.lab.load.content import Content, content_of, name_prefix
from include.lab.load.expectations import Found, Intent, Wrong, is_unfinished, judge
from include.lab.load.plan import Entrance
from include.lab.load.transfer import Pace, incoming

PATIENCE = 15.0
"""Seconds in which a request of the audit must succeed once, on any balancer."""
SETTLE = 5.0
"""Seconds that Glance gets to put an image whose upload was cut back into a lasting state."""
POLL = 0.25
PAGE = 200

T = TypeVar("T")


class AuditUnableError(Exception):
    """Glance did not answer: nothing can be said of the images."""


@dataclass(frozen=True)
class Audit:
    """What the look at the end found."""

    images_checked: int
    bytes_read: int
    wrong: tuple[Wrong, ...]


class Auditor:
    """Looks at the images of one run through the balancers."""

    def __init__(self, run: str, entrances: Sequence[Entrance], timeout: float) -> None:
        self._run = run
        self._entrances = entrances
        self._timeout = timeout

    def audit(self, intent: Intent) -> Audit:
        """Judge all images of the run, and delete those that are right or that the load itself left unfinished.

        Wrong ones stay, as evidence. Raises AuditUnableError where Glance does not answer.
        """
        found = self._settled(intent)
        wrong = judge(intent, found)
        listed_wrong = {one.image for one in wrong}
        read = 0
        for image in sorted(intent.present & found.keys() - listed_wrong):
            content = content_of(found[image].name)
            if content is None:
                continue  # judged as wrong already
            fault = self._read(image, content)
            if fault is None:
                read += content.size
                self._delete(image)
            else:
                wrong.append(Wrong(image, f"{content.size} bytes as uploaded", fault))
        for image, seen in found.items():
            if is_unfinished(intent, image, seen):
                self._delete(image)
        return Audit(images_checked=len(intent.present | intent.gone), bytes_read=read, wrong=tuple(wrong))

    def _settled(self, intent: Intent) -> dict[str, Found]:
        """The images of the run, once nothing is wrong any more or the time to settle is over."""
        deadline = time.monotonic() + SETTLE
        found = self._list()
        while judge(intent, found) and time.monotonic() < deadline:
            time.sleep(POLL)
            found = self._list()
        return found

    def _list(self) -> dict[str, Found]:
        prefix = name_prefix(self._run)
        found: dict[str, Found] = {}
        path = f"/v2/images?limit={PAGE}"
        while path:
            page = json.loads(self._patiently(partial(self._body, "GET", path, (200,))))
            for image in page["images"]:
                if str(image["name"]).startswith(prefix):
                    found[image["id"]] = Found(
                        image["name"], image["status"], image.get("size"), image.get("os_hash_value")
                    )
            path = page.get("next", "")
        return found

    def _read(self, image: str, content: Content) -> str | None:
        """What is wrong with the bytes of an image; None where nothing is."""
        path = f"/v2/images/{quote(image)}/file"

        def read(entrance: Entrance) -> str | None:
            with Connection(entrance, self._timeout) as connection:
                exchange = Exchange()
                response = connection.send(exchange, "GET", path)
                if response.status != 200:
                    raise WrongAnswerError(f"status {response.status}, expected 200")
                try:
                    incoming(response, content, Pace(content.size, 0, threading.Event()), exchange)
                except WrongAnswerError as fault:
                    return str(fault)
                return None

        return self._patiently(read)

    def _delete(self, image: str) -> None:
        self._patiently(partial(self._body, "DELETE", f"/v2/images/{quote(image)}", (204, 404)))

    def _body(self, method: str, path: str, expected: tuple[int, ...], entrance: Entrance) -> bytes:
        with Connection(entrance, self._timeout) as connection:
            response = connection.send(Exchange(), method, path)
            if response.status not in expected:
                raise WrongAnswerError(f"status {response.status}, expected {expected[0]}")
            return response.read()

    def _patiently(self, ask: Callable[[Entrance], T]) -> T:
        """Ask the balancers in turn until one answers. Raises AuditUnableError after ``PATIENCE`` seconds."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for entrance in self._entrances:
                try:
                    return ask(entrance)
                except (OSError, http.client.HTTPException, WrongAnswerError) as error:
                    reason = f"{entrance.name}: {type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                raise AuditUnableError(
                    f"no balancer answered the audit within {PATIENCE:.0f} s, last {reason}; "
                    "the images are untouched; bring the lab up and stop the load again"
                )
            time.sleep(POLL)
