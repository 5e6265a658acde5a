"""What should have become of every image of a run, judged from its lines and from what Glance lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.lab.load.content import content_of
from include.lab.load.lines import Begun, Operation

UPLOADS = frozenset({"upload", "slow_upload"})


@dataclass(frozen=True)
class Found:
    """One image as Glance lists it."""

    name: str
    status: str
    size: int | None
    sha512: str | None


@dataclass(frozen=True)
class Wrong:
    """An image that is not what its client's last request meant it to be."""

    image: str
    expected: str
    found: str


@dataclass(frozen=True)
class Intent:
    """What the clients meant: images that should hold their content, images that should be gone, and those
    whose last request was cut because the load itself was killed, about which nothing can be said."""

    present: frozenset[str]
    gone: frozenset[str]
    unfinished: frozenset[str]
    unfinished_names: frozenset[str]
    """Images whose create was cut: only the name is known."""


def intent_of(operations: Sequence[Operation], begun: Sequence[Begun]) -> Intent:
    """Read the intent from the lines. A failed upload still means present, a failed delete gone."""
    created = {line.image for line in operations if line.op == "create" and line.image}
    uploaded = {line.image for line in operations if line.op in UPLOADS and line.image}
    deleted = {line.image for line in operations if line.op == "delete" and line.image}
    cut_uploads = {line.image for line in begun if line.op == "upload" and line.image} - uploaded
    cut_deletes = {line.image for line in begun if line.op == "delete" and line.image} - deleted
    unfinished = cut_uploads | cut_deletes | (created - uploaded)
    return Intent(
        present=frozenset(uploaded - deleted - unfinished),
        gone=frozenset(deleted),
        unfinished=frozenset(unfinished),
        unfinished_names=frozenset(
            {line.name for line in begun if line.op == "create"}
            - {line.name for line in operations if line.op == "create" and line.name}
        ),
    )


def judge(intent: Intent, found: Mapping[str, Found]) -> list[Wrong]:
    """Every image of the run that is not as meant; contents are compared by Glance's own size and hash."""
    wrong = [Wrong(image, "present", "missing") for image in sorted(intent.present - found.keys())]
    for image, seen in sorted(found.items()):
        if is_unfinished(intent, image, seen):
            continue
        if image in intent.gone:
            wrong.append(Wrong(image, "deleted", seen.status))
        elif image in intent.present:
            wrong.extend(_wrong_content(image, seen))
        else:
            wrong.append(Wrong(image, "not made: its create failed", seen.status))
    return wrong


def is_unfinished(intent: Intent, image: str, seen: Found) -> bool:
    """True where the load was killed in the middle of a request about this image."""
    return image in intent.unfinished or seen.name in intent.unfinished_names


def _wrong_content(image: str, seen: Found) -> list[Wrong]:
    content = content_of(seen.name)
    if content is None:
        return [Wrong(image, "a name made by the load", seen.name)]
    if seen.status != "active":
        return [Wrong(image, "active", seen.status)]
    if seen.size != content.size:
        return [Wrong(image, f"{content.size} bytes", f"{seen.size} bytes")]
    if seen.sha512 != content.sha512:
        return [Wrong(image, f"sha512 {content.sha512[:16]}…", f"sha512 {str(seen.sha512)[:16]}…")]
    return []
