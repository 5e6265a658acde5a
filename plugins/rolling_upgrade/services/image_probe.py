"""Store, read back and delete one small image through one node's own address."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

    from rolling_upgrade.hooks.keystone import Token

NAME = "rolling-upgrade-probe"
"""Every image of this name and a node's that is found is a leftover of a probe that was cut off, and is deleted."""
SIZE = 65_536
SECONDS = 15.0
CREATED, NO_CONTENT, OK, UNAUTHORIZED, FORBIDDEN = 201, 204, 200, 401, 403


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    tried: bool
    """False for a node that wants a token where there is none; that is a correct answer."""
    failure: str | None = None
    """Why a small image could not be stored, read back and deleted."""


class _WrongAnswerError(Exception):
    """What the node answered, and to what."""


def try_image(node: str, address: str, port: int, token: Token | None = None) -> Trial:
    """Store, read back and delete a small image through the node, with the token if there is one.

    Without one, a node that answers the first request with 401 is not tried further. Leaves no image behind, unless the
    node stops answering: then the next probe of that node deletes it.
    """
    import requests

    with requests.Session() as session:
        # A proxy of the worker's environment must not answer in the node's place.
        session.trust_env = False
        images = _Images(session, f"http://{address}:{port}/v2/images", token)
        try:
            if not images.forget(f"{NAME}-{node}"):
                return Trial(tried=False)
            images.try_one(f"{NAME}-{node}")
        except _WrongAnswerError as wrong:
            return Trial(tried=True, failure=str(wrong))
        except (requests.RequestException, ValueError, KeyError) as error:
            return Trial(tried=True, failure=f"an image could not be tried ({error or type(error).__name__})")
    return Trial(tried=True)


class _Images:
    """The images of one node, as the token's project sees them."""

    def __init__(self, session: requests.Session, base: str, token: Token | None) -> None:
        self._session = session
        self._base = base
        self._token = token
        session.headers.update(token.headers if token else {})

    def forget(self, name: str) -> bool:
        """Delete what earlier probes left; False where a token is wanted and there is none."""
        # A powerful account is shown other projects' images as well, which are not the probe's.
        mine = {"owner": self._token.project} if self._token else {}
        response = self._ask("GET", "", params={"name": name, **mine})
        if response.status_code == UNAUTHORIZED and not self._token:
            return False
        self._expect(response, OK, "a list by name")
        for image in response.json()["images"]:
            self._expect(self._ask("DELETE", f"/{image['id']}"), NO_CONTENT, "the delete of an old probe")
        return True

    def try_one(self, name: str) -> None:
        body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private"}
        created = self._expect(self._ask("POST", "", json=body), CREATED, "a create")
        image = f"/{created.json()['id']}"
        content = secrets.token_bytes(SIZE)
        binary = {"Content-Type": "application/octet-stream"}
        try:
            self._expect(self._ask("PUT", f"{image}/file", data=content, headers=binary), NO_CONTENT, "an upload")
            answer = self._expect(self._ask("GET", f"{image}/file"), OK, "a download")
            if answer.content != content:
                raise _WrongAnswerError(
                    f"a download gives other bytes than the upload had ({len(answer.content)} of {SIZE})"
                )
        finally:
            deleted = self._ask("DELETE", image)
        self._expect(deleted, NO_CONTENT, "a delete")

    def _ask(self, method: str, path: str, **sent: Any) -> requests.Response:
        # A redirect is not followed: it would take the token to another place.
        return self._session.request(method, f"{self._base}{path}", timeout=SECONDS, allow_redirects=False, **sent)

    def _expect(self, response: requests.Response, status: int, what: str) -> requests.Response:
        found = response.status_code
        if found == status:
            return response
        if self._token and found == UNAUTHORIZED:
            raise _WrongAnswerError(f"{what} of an image: the node does not take the token of {self._whose} (401)")
        if self._token and found == FORBIDDEN:
            raise _WrongAnswerError(f"{what} of an image is forbidden to the account of {self._whose} (403)")
        raise _WrongAnswerError(f"{what} of an image answers {found} instead of {status}: {response.text[:200]}")

    @property
    def _whose(self) -> str:
        return f"connection {self._token.connection}" if self._token else "nobody"
