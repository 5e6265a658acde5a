"""The requests of the load to Glance's Images API v2: each is sent once, verified, and becomes a line."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from include.lab.load.connection import Body, Connection, EarlyAnswerError, Exchange, WrongAnswerError
from include.lab.load.content import Content, image_name
from include.lab.load.lines import Begun, Operation, Recorder, utc_now
from include.lab.load.progress import Progress
from include.lab.load.transfer import Pace, incoming, outgoing

LIST_LENGTH = 20
_OCTETS = {"Content-Type": "application/octet-stream"}
_JSON = {"Content-Type": "application/json"}


class Requests:
    """The requests of one client. Nothing here is repeated: a retry would hide what the load must see."""

    def __init__(self, client: str, run: str, recorder: Recorder, progress: Progress, hurry: threading.Event) -> None:
        self._client = client
        self._run = run
        self._recorder = recorder
        self._progress = progress
        self._hurry = hurry

    def list_images(self, connection: Connection) -> bool:
        with self._line("list", connection) as exchange:
            answer = _json(_send(connection, exchange, "GET", f"/v2/images?limit={LIST_LENGTH}", expected=200))
            if not isinstance(answer.get("images"), list):
                raise WrongAnswerError(f"a list without images: {str(answer)[:120]}")
        return exchange.error is None

    def create(self, connection: Connection, content: Content) -> str | None:
        """Make an image without content; its id, or None where that failed."""
        name = image_name(self._run, content)
        body = json.dumps({"name": name, "disk_format": "raw", "container_format": "bare"}).encode()
        self._recorder.begin(Begun("create", name, None))
        with self._line("create", connection, name=name) as exchange:
            answer = _json(_send(connection, exchange, "POST", "/v2/images", expected=201, body=body))
            if not isinstance(answer.get("id"), str):
                raise WrongAnswerError(f"an image without an id: {str(answer)[:120]}")
            exchange.image = str(answer["id"])
        return exchange.image

    def upload(self, connection: Connection, image: str, content: Content) -> bool:
        self._recorder.begin(Begun("upload", image_name(self._run, content), image))
        with self._line("upload", connection, image) as exchange:
            connection.open()
            body = outgoing(content, Pace(content.size, 0, self._hurry), connection, exchange)
            _send(connection, exchange, "PUT", f"/v2/images/{image}/file", expected=204, body=body)
        return exchange.error is None

    def slow_upload(self, connection: Connection, image: str, content: Content, seconds: float) -> bool:
        """Upload at an even pace, so that it takes ``seconds``; faster once the load is asked to finish."""
        self._recorder.begin(Begun("upload", image_name(self._run, content), image))
        with self._line("slow_upload", connection, image) as exchange:
            connection.open()
            transfer = self._progress.transfer("upload", connection.entrance, connection.local_port)
            with transfer as running:
                try:
                    pace = Pace(content.size, seconds, self._hurry)
                    body = outgoing(content, pace, connection, exchange)
                    _send(connection, exchange, "PUT", f"/v2/images/{image}/file", expected=204, body=body)
                finally:
                    exchange.server = exchange.server or running.server
        return exchange.error is None

    def show(self, connection: Connection, image: str, content: Content) -> bool:
        """Verify what Glance says of an uploaded image: its state, size and hash."""
        with self._line("show", connection, image) as exchange:
            answer = _json(_send(connection, exchange, "GET", f"/v2/images/{image}", expected=200))
            found = (answer.get("status"), answer.get("size"), answer.get("os_hash_value"))
            if found != ("active", content.size, content.sha512):
                raise WrongAnswerError(f"state, size, hash are {found}, expected active, {content.size}, as uploaded")
        return exchange.error is None

    def download(self, connection: Connection, image: str, content: Content) -> bool:
        with self._line("download", connection, image) as exchange:
            response = _head(connection, exchange, "GET", f"/v2/images/{image}/file", expected=200)
            incoming(response, content, Pace(content.size, 0, self._hurry), exchange)
        return exchange.error is None

    def slow_download(self, connection: Connection, image: str, content: Content, seconds: float) -> bool:
        """Download at an even pace; see ``slow_upload``."""
        with self._line("slow_download", connection, image) as exchange:
            connection.open()
            transfer = self._progress.transfer("download", connection.entrance, connection.local_port)
            with transfer as running:
                response = _head(connection, exchange, "GET", f"/v2/images/{image}/file", expected=200)
                running.server = exchange.server
                incoming(response, content, Pace(content.size, seconds, self._hurry), exchange)
        return exchange.error is None

    def delete(self, connection: Connection, image: str, content: Content) -> bool:
        self._recorder.begin(Begun("delete", image_name(self._run, content), image))
        with self._line("delete", connection, image) as exchange:
            _send(connection, exchange, "DELETE", f"/v2/images/{image}", expected=204)
        return exchange.error is None

    @contextmanager
    def _line(
        self, op: str, connection: Connection, image: str | None = None, name: str | None = None
    ) -> Iterator[Exchange]:
        """Time what happens inside, turn its errors into the line's error, and write the line."""
        exchange = Exchange(image=image)
        at, began = utc_now(), time.monotonic()
        try:
            yield exchange
        except (OSError, http.client.HTTPException, WrongAnswerError, EarlyAnswerError) as error:
            exchange.error = f"{type(error).__name__}: {error}"
            # What is left of the answer would be read as the next one.
            connection.close()
        self._recorder.write(
            Operation(
                at=at,
                client=self._client,
                op=op,
                balancer=connection.entrance.name,
                server=exchange.server,
                status=exchange.status,
                ok=exchange.error is None,
                seconds=round(time.monotonic() - began, 3),
                bytes=exchange.bytes,
                error=exchange.error,
                image=exchange.image,
                name=name,
            )
        )


def _head(
    connection: Connection,
    exchange: Exchange,
    method: str,
    path: str,
    *,
    expected: int,
    body: Body | None = None,
) -> http.client.HTTPResponse:
    """Send a request and expect a status. Raises WrongAnswerError where the answer has another."""
    headers = {} if body is None else _OCTETS if method == "PUT" else _JSON
    response = connection.send(exchange, method, path, body, headers)
    if response.status != expected:
        raise WrongAnswerError(f"status {response.status}, expected {expected}: {_beginning(response)}")
    return response


def _send(
    connection: Connection,
    exchange: Exchange,
    method: str,
    path: str,
    *,
    expected: int,
    body: Body | None = None,
) -> bytes:
    answer = _head(connection, exchange, method, path, expected=expected, body=body).read()
    exchange.bytes += len(answer)
    return answer


def _json(body: bytes) -> dict[str, object]:
    """Raises WrongAnswerError where the body is no JSON object."""
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise WrongAnswerError(f"no JSON: {body[:120]!r}") from error
    if not isinstance(answer, dict):
        raise WrongAnswerError(f"no JSON object: {body[:120]!r}")
    return answer


def _beginning(response: http.client.HTTPResponse) -> str:
    return " ".join(response.read(200).decode("utf-8", "replace").split())
