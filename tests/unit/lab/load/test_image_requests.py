"""Each request is sent once; whatever is wrong with its answer becomes a failed line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.lab.load.connection import Connection
from include.lab.load.content import BLOCK, Content
from include.lab.load.image_requests import Requests
from include.lab.load.lines import Operation, Recorder
from include.lab.load.plan import Entrance
from include.lab.load.progress import Progress
from tests.unit.lab.load.images_service import SERVED_BY, Service

CONTENT = Content(7, 5 * BLOCK + 100)


class Client:
    """One client of the service, with the lines it wrote."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.lines: list[Operation] = []
        self.hurry = threading.Event()
        self.progress = Progress()
        recorder = Recorder(directory / "operations", directory / "begun", self.lines.append)
        self.requests = Requests("quick1", "0a1b2c3d", recorder, self.progress, self.hurry)
        self.connection = Connection(service.entrance, timeout=5)

    def uploaded(self) -> str:
        image = self.requests.create(self.connection, CONTENT)
        assert image is not None
        assert self.requests.upload(self.connection, image, CONTENT)
        self.lines.clear()
        return image

    @property
    def error(self) -> str:
        """The error of the only line, which must be a failed one."""
        (only,) = self.lines
        assert not only.ok
        assert only.error is not None
        return only.error


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Iterator[Client]:
    one = Client(service, tmp_path)
    yield one
    one.connection.close()


def test_the_life_of_an_image(client: Client) -> None:
    requests, connection = client.requests, client.connection
    image = requests.create(connection, CONTENT)
    assert image is not None
    assert requests.slow_upload(connection, image, CONTENT, seconds=0.2)
    assert requests.show(connection, image, CONTENT)
    assert requests.list_images(connection)
    assert requests.download(connection, image, CONTENT)
    assert requests.slow_download(connection, image, CONTENT, seconds=0.2)
    assert requests.delete(connection, image, CONTENT)
    assert [line.op for line in client.lines] == [
        "create", "slow_upload", "show", "list", "download", "slow_download", "delete",
    ]  # fmt: skip
    assert all(line.ok and line.server == SERVED_BY and line.balancer == "lb1" for line in client.lines)
    assert [line.bytes for line in client.lines if "load" in line.op] == [CONTENT.size] * 3


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("short", "expected 327780"),
        ("altered", "differs from what was uploaded"),
        ("unavailable", "status 503, expected 200"),
        ("no answer", "RemoteDisconnected"),
    ],
)
def test_a_bad_download_is_a_failed_line(client: Client, service: Service, fault: str, says: str) -> None:
    image = client.uploaded()
    service.fault = fault
    assert not client.requests.download(client.connection, image, CONTENT)
    assert says in client.error


def test_after_a_failure_the_next_request_has_a_connection_of_its_own(client: Client, service: Service) -> None:
    image = client.uploaded()
    service.fault = "short"
    client.requests.download(client.connection, image, CONTENT)
    service.fault = ""
    assert client.requests.download(client.connection, image, CONTENT)


def test_an_upload_that_is_answered_too_early_fails_with_the_answers_status(client: Client, service: Service) -> None:
    image = client.requests.create(client.connection, CONTENT)
    assert image is not None
    client.lines.clear()
    service.fault = "early answer"
    assert not client.requests.slow_upload(client.connection, image, CONTENT, seconds=2)
    assert client.lines[0].status == 503
    assert client.lines[0].bytes < CONTENT.size
    assert service.images[image]["status"] == "queued"


def test_an_image_in_the_wrong_state_is_a_failed_line(client: Client, service: Service) -> None:
    image = client.uploaded()
    service.images[image]["status"] = "saving"
    assert not client.requests.show(client.connection, image, CONTENT)
    assert "saving" in client.error


def test_a_refused_connection_is_a_failed_line_without_a_server(client: Client) -> None:
    nobody = Connection(Entrance("lb2", "127.0.0.1", 1, admin_port=1), timeout=5)
    assert not client.requests.list_images(nobody)
    assert "ConnectionRefusedError" in client.error
    assert (client.lines[0].server, client.lines[0].status) == (None, None)


def test_a_slow_transfer_takes_its_time_and_hurries_when_asked(client: Client) -> None:
    image = client.uploaded()
    began = time.monotonic()
    client.requests.slow_download(client.connection, image, CONTENT, seconds=0.5)
    assert 0.45 < time.monotonic() - began < 5
    threading.Timer(0.2, client.hurry.set).start()
    began = time.monotonic()
    assert client.requests.slow_download(client.connection, image, CONTENT, seconds=30)
    assert time.monotonic() - began < 10
