"""The clients of the load: quick ones with many small requests, slow ones with long transfers."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque

from include.lab.load.connection import Connection
from include.lab.load.content import Content
from include.lab.load.image_requests import Requests
from include.lab.load.plan import LoadPlan

KEPT = 4
"""Images a quick client keeps, to download again and to be verified at the end."""
REQUESTS_A_CONNECTION = 50
"""After so many a quick client opens new connections, as clients come and go."""


class QuickClient:
    """Lists, creates, uploads, downloads and deletes small images of its own, on both balancers in turn."""

    def __init__(self, number: int, plan: LoadPlan, requests: Requests, stop: threading.Event) -> None:
        self._plan = plan
        self._requests = requests
        self._stop = stop
        self._random = random.Random(f"{plan.run}-quick-{number}")  # noqa: S311 - a repeatable mix
        self._first_wait = plan.interval * number / max(plan.clients, 1)
        self._kept: deque[tuple[str, Content]] = deque()
        self._connections = [
            Connection(plan.entrances[(number + turn) % len(plan.entrances)], plan.request_timeout)
            for turn in range(len(plan.entrances))
        ]
        self._sent = 0
        self._due = 0.0

    def run(self) -> None:
        """Work until asked to stop. An image that was begun is finished first."""
        self._due = time.monotonic() + self._first_wait
        while self._wait_for_turn():
            if len(self._kept) > KEPT:
                self._requests.delete(self._connection(), *self._kept.popleft())
            else:
                work = self._random.choices((self._list, self._download, self._new_image), weights=(4, 4, 2))[0]
                work()
        for connection in self._connections:
            connection.close()

    def _wait_for_turn(self) -> bool:
        """Wait until the next request is due; False once the load is to stop."""
        # A late client does not catch up: the pause after a slow answer is no burst.
        self._due = max(self._due + self._plan.interval, time.monotonic())
        return not self._stop.wait(self._due - time.monotonic())

    def _connection(self) -> Connection:
        self._sent += 1
        if self._sent % REQUESTS_A_CONNECTION == 0:
            for connection in self._connections:
                connection.close()
        return self._connections[self._sent % len(self._connections)]

    def _list(self) -> None:
        self._requests.list_images(self._connection())

    def _download(self) -> None:
        if self._kept:
            self._requests.download(self._connection(), *self._random.choice(self._kept))
        else:
            self._new_image()

    def _new_image(self) -> None:
        content = Content(self._random.getrandbits(32), self._random.randint(*self._plan.quick_sizes))
        image = self._requests.create(self._connection(), content)
        if image is None or not self._requests.upload(self._connection(), image, content):
            return  # left as it is: the audit says what became of it
        self._kept.append((image, content))
        self._requests.show(self._connection(), image, content)


class SlowClient:
    """Uploads an image for tens of seconds, downloads it for tens of seconds, deletes it, and so on."""

    def __init__(self, number: int, plan: LoadPlan, requests: Requests, stop: threading.Event) -> None:
        self._plan = plan
        self._requests = requests
        self._stop = stop
        self._random = random.Random(f"{plan.run}-slow-{number}")  # noqa: S311 - a repeatable mix
        self._entrances = itertools.cycle(plan.entrances[number % 2 :] + plan.entrances[: number % 2])
        # Half of them begin with a quick upload, so that both directions run from the first second.
        self._begins_with_download = number % 2 == 1

    def run(self) -> None:
        """Work until asked to stop; transfers under way then go on at full speed to their end."""
        quick = self._begins_with_download
        while not self._stop.is_set():
            self._one_image(quick_upload=quick)
            quick = False

    def _one_image(self, *, quick_upload: bool) -> None:
        content = Content(self._random.getrandbits(32), self._plan.slow_size)
        with self._open() as connection:
            image = self._requests.create(connection, content)
        if image is None or not self._upload(image, content, quick=quick_upload):
            # Nothing waits here otherwise, and a broken service must not be asked in a tight loop.
            self._stop.wait(self._plan.interval)
            return
        with self._open() as connection:
            self._requests.show(connection, image, content)
        if self._stop.is_set():
            return
        with self._open(small_buffer=True) as connection:
            self._requests.slow_download(connection, image, content, self._seconds())
        with self._open() as connection:
            self._requests.delete(connection, image, content)

    def _upload(self, image: str, content: Content, *, quick: bool) -> bool:
        with self._open() as connection:
            if quick:
                return self._requests.upload(connection, image, content)
            return self._requests.slow_upload(connection, image, content, self._seconds())

    def _seconds(self) -> float:
        return self._random.uniform(*self._plan.slow_seconds)

    def _open(self, *, small_buffer: bool = False) -> Connection:
        """A new connection to the next balancer."""
        return Connection(next(self._entrances), self._plan.request_timeout, small_buffer=small_buffer)
