"""Store, read back and delete one small image through one node's own address."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

NAME = "rolling-upgrade-probe"
"""Every image of this name and a node's that is found is a leftover of a probe that was cut off, and is deleted."""
SIZE = 65_536
SECONDS = 15.0
CREATED, NO_CONTENT, OK, UNAUTHORIZED = 201, 204, 200, 401


class _WrongAnswerError(Exception):
    """What the node answered, and to what."""


def why_image_fails(node: str, address: str, port: int) -> str | None:
    """Why a small image could not be stored, read back and deleted through the node, or None.

    A node that wants a token says so by its 401 to the first request, which is a correct answer; it is not tried
    further. Leaves no image behind, unless the node stops answering: then the next probe of that node deletes it.
    """
    import requests

    base = f"http://{address}:{port}/v2/images"
    name = f"{NAME}-{node}"
    with requests.Session() as session:
        # A proxy of the worker's environment must not answer in the node's place.
        session.trust_env = False
        try:
            if _forget_leftovers(session, base, name):
                _try_one(session, base, name)
        except _WrongAnswerError as wrong:
            return str(wrong)
        except (requests.RequestException, ValueError, KeyError) as error:
            return f"an image could not be tried ({error or type(error).__name__})"
    return None


def _forget_leftovers(session: requests.Session, base: str, name: str) -> bool:
    """Delete what earlier probes left; False where a token is wanted."""
    response = session.get(base, params={"name": name}, timeout=SECONDS)
    if response.status_code == UNAUTHORIZED:
        return False
    _expect(response, OK, "a list by name")
    for image in response.json()["images"]:
        _expect(session.delete(f"{base}/{image['id']}", timeout=SECONDS), NO_CONTENT, "the delete of an old probe")
    return True


def _try_one(session: requests.Session, base: str, name: str) -> None:
    body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    created = _expect(session.post(base, json=body, timeout=SECONDS), CREATED, "a create")
    image = f"{base}/{created.json()['id']}"
    content = secrets.token_bytes(SIZE)
    try:
        headers = {"Content-Type": "application/octet-stream"}
        _expect(session.put(f"{image}/file", data=content, headers=headers, timeout=SECONDS), NO_CONTENT, "an upload")
        answer = _expect(session.get(f"{image}/file", timeout=SECONDS), OK, "a download")
        if answer.content != content:
            raise _WrongAnswerError(
                f"a download gives other bytes than the upload had ({len(answer.content)} of {SIZE})"
            )
    finally:
        deleted = session.delete(image, timeout=SECONDS)
    _expect(deleted, NO_CONTENT, "a delete")


def _expect(response: requests.Response, status: int, what: str) -> requests.Response:
    if response.status_code != status:
        raise _WrongAnswerError(
            f"{what} of an image answers {response.status_code} instead of {status}: {response.text[:200]}"
        )
    return response
