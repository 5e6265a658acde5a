"""The client of a slow transfer: ``python -m include.lab.faults.trickle PLAN``, started by the fault.

It writes a report beside its plan, once a second and at its end. SIGTERM asks it to finish at full speed.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.lab.load.connection import Connection, EarlyAnswerError, Exchange, WrongAnswerError
from include.lab.load.content import Content
from include.lab.load.plan import MEBIBYTE, Entrance
from include.lab.load.sessions import ask_sessions
from include.lab.load.transfer import Pace, incoming, outgoing

SIZE = 64 * MEBIBYTE
"""As the load's slow transfers: far more than what buffers on the way can hold."""
OCTETS = "application/octet-stream"
SILENCE_SECONDS = 60.0
TRIES = 40
NAMED_SECONDS = 5.0
"""How long a balancer may take to show which server it gave an upload to."""
STARTING, RUNNING, WHOLE, CUT = "starting", "running", "whole", "cut"
ERRORS = (OSError, http.client.HTTPException, WrongAnswerError, EarlyAnswerError)


@dataclass(frozen=True)
class Plan:
    """What to transfer, through what, on which node (None: any), and for how many seconds."""

    balancer: str
    address: str
    port: int
    admin_port: int
    node: str | None
    seconds: int
    upload: bool

    @property
    def entrance(self) -> Entrance:
        return Entrance(self.balancer, self.address, self.port, self.admin_port)


def report_file(plan_file: Path) -> Path:
    return plan_file.with_suffix(".report.json")


class Trickle:
    """One transfer and its report."""

    def __init__(self, plan: Plan, report: Path) -> None:
        self.plan = plan
        self.content = Content(secrets.randbits(32), SIZE)
        self.hurry = threading.Event()
        self._report_file = report
        self._exchange = Exchange()
        self._state = STARTING
        self._error: str | None = None
        self._connections: list[Connection] = []
        self._images: list[str] = []
        self._began = time.monotonic()

    def run(self) -> bool:
        """Make an image, move it, remove it. True if every byte came over well."""
        threading.Thread(target=self._report_on, daemon=True).start()
        try:
            self._upload() if self.plan.upload else self._download()
            self._state = WHOLE
        except ERRORS as error:
            self._state, self._error = CUT, f"{type(error).__name__}: {error}"
        finally:
            self.report()
            for connection in self._connections:
                connection.close()
            for image in self._images:
                with suppress(*ERRORS):
                    self._once("DELETE", f"/v2/images/{image}", 204)
        return self._state == WHOLE

    def report(self) -> None:
        new = self._report_file.with_name(f".{self._report_file.name}.new.{threading.get_ident()}")
        new.write_text(json.dumps(self._said()) + "\n")
        new.replace(self._report_file)

    def _said(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "state": self._state,
            "way": "upload" if self.plan.upload else "download",
            "balancer": self.plan.balancer,
            "server": self._exchange.server,
            "bytes": self._exchange.bytes,
            "size": self.content.size,
            "seconds": round(time.monotonic() - self._began, 1),
            "error": self._error,
        }

    def _report_on(self) -> None:
        while self._state in (STARTING, RUNNING):
            self.report()
            time.sleep(0.2 if self._state == STARTING else 1.0)

    def _connect(self) -> Connection:
        """A try. One that leads to another node stays open until the right one is found: it turns the balancer on."""
        connection = Connection(self.plan.entrance, SILENCE_SECONDS, small_buffer=True)
        self._connections.append(connection)
        return connection

    def _once(self, method: str, path: str, status: int, body: bytes | None = None, kind: str = "") -> bytes:
        """One quick request. Raises WrongAnswerError for another status."""
        with Connection(self.plan.entrance, SILENCE_SECONDS) as connection:
            response = connection.send(Exchange(), method, path, body, {"Content-Type": kind} if kind else {})
            answer = response.read()
        if response.status != status:
            raise WrongAnswerError(f"{method} {path} was answered {response.status}, expected {status}")
        return answer

    def _create(self) -> str:
        wanted = {"name": "slow-transfer", "disk_format": "raw", "container_format": "bare"}
        answer = self._once("POST", "/v2/images", 201, json.dumps(wanted).encode(), "application/json")
        image = str(json.loads(answer)["id"])
        self._images.append(image)
        return image

    def _pace(self) -> Pace:
        return Pace(self.content.size, self.plan.seconds, self.hurry)

    def _download(self) -> None:
        image = self._create()
        self._once("PUT", f"/v2/images/{image}/file", 204, b"".join(self.content.blocks()), OCTETS)
        for _ in range(TRIES):
            connection, exchange = self._connect(), Exchange()
            response = connection.send(exchange, "GET", f"/v2/images/{image}/file")
            if response.status != 200:
                raise WrongAnswerError(f"status {response.status}, expected 200")
            if self.plan.node in (None, exchange.server):
                self._found(connection, exchange)
                incoming(response, self.content, self._pace(), exchange)
                return
        raise self._not_led_there()

    def _upload(self) -> None:
        for _ in range(TRIES):
            connection, exchange, image = self._connect(), Exchange(), self._create()
            connection.open()
            body = self._body(connection, exchange)
            try:
                path = f"/v2/images/{image}/file"
                response = connection.send(exchange, "PUT", path, body, {"Content-Type": OCTETS})
            except _OtherNodeError:
                continue
            response.read()
            if response.status != 204:
                raise WrongAnswerError(f"status {response.status}, expected 204")
            return
        raise self._not_led_there()

    def _body(self, connection: Connection, exchange: Exchange) -> Iterator[bytes]:
        """The content, once the balancer has given the request, whose head it has by now, to the right node."""
        exchange.server = self._server_of(connection)
        if self.plan.node not in (None, exchange.server):
            raise _OtherNodeError
        self._found(connection, exchange)
        yield from outgoing(self.content, self._pace(), connection, exchange)

    def _server_of(self, connection: Connection) -> str | None:
        deadline = time.monotonic() + NAMED_SECONDS
        while time.monotonic() < deadline:
            server = ask_sessions(self.plan.entrance).get(connection.local_port)
            if server is not None:
                return server
            time.sleep(0.05)
        return None

    def _found(self, connection: Connection, exchange: Exchange) -> None:
        for other in self._connections:
            if other is not connection:
                other.close()
        self._exchange, self._state, self._began = exchange, RUNNING, time.monotonic()

    def _not_led_there(self) -> WrongAnswerError:
        return WrongAnswerError(f"{TRIES} requests through {self.plan.balancer}, none was given to {self.plan.node}")


class _OtherNodeError(Exception):
    """The balancer has given the upload to another node."""


def main(plan_file: Path) -> int:
    trickle = Trickle(Plan(**json.loads(plan_file.read_text())), report_file(plan_file))
    signal.signal(signal.SIGTERM, lambda *_: trickle.hurry.set())
    return 0 if trickle.run() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
