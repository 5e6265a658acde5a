"""What an image of the load contains: made from a seed, so it can be verified later without being stored."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

BLOCK = 65_536
"""Bytes in one block of content."""

_NAME = re.compile(r"load-(?P<run>[0-9a-f]{8})-(?P<seed>[0-9a-f]{8})-(?P<size>[0-9]+)")


@dataclass(frozen=True)
class Content:
    """``size`` bytes that follow from ``seed``. Every block differs, so a lost or swapped one is seen."""

    seed: int
    size: int

    def blocks(self) -> Iterator[bytes]:
        """The content in order, in pieces of at most ``BLOCK`` bytes."""
        base = self._base
        for number, start in enumerate(range(0, self.size, BLOCK)):
            yield (number.to_bytes(8, "big") + base)[: min(BLOCK, self.size - start)]

    @cached_property
    def sha512(self) -> str:
        """What Glance calls ``os_hash_value``."""
        digest = hashlib.sha512()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    @cached_property
    def _base(self) -> bytes:
        return random.Random(self.seed).randbytes(BLOCK - 8)  # noqa: S311 - must be repeatable, not secret


def image_name(run: str, content: Content) -> str:
    """The name says run, seed and size, so the name alone is enough to verify an image."""
    return f"{name_prefix(run)}{content.seed:08x}-{content.size}"


def name_prefix(run: str) -> str:
    """What all image names of one run begin with."""
    return f"load-{run}-"


def content_of(name: str) -> Content | None:
    """The content an image of this name must have; None where the load did not make the name."""
    match = _NAME.fullmatch(name)
    return Content(int(match["seed"], 16), int(match["size"])) if match else None
