"""Content follows from its seed, and an image's name says which content it is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lab.load.content import BLOCK, Content, content_of, image_name, name_prefix

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, size=st.integers(0, 5 * BLOCK))
def test_content_has_its_size_and_is_the_same_each_time(seed: int, size: int) -> None:
    content = b"".join(Content(seed, size).blocks())
    assert len(content) == size
    assert content == b"".join(Content(seed, size).blocks())
    assert hashlib.sha512(content).hexdigest() == Content(seed, size).sha512


def test_no_two_blocks_are_alike_so_a_swapped_one_is_seen() -> None:
    blocks = list(Content(1, 20 * BLOCK).blocks())
    assert len(set(blocks)) == 20


def test_another_seed_is_another_content() -> None:
    assert Content(1, BLOCK).sha512 != Content(2, BLOCK).sha512


@given(seed=seeds, size=st.integers(0, 2**40))
def test_a_name_gives_back_its_content(seed: int, size: int) -> None:
    name = image_name("0a1b2c3d", Content(seed, size))
    assert name.startswith(name_prefix("0a1b2c3d"))
    assert content_of(name) == Content(seed, size)


@pytest.mark.parametrize("name", ["", "cirros", "load-", "load-0a1b2c3d-1-1", "load-0a1b2c3d-00000001-1x"])
def test_a_name_of_someone_else_has_no_content(name: str) -> None:
    assert content_of(name) is None
