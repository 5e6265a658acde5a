"""Every image of a run must be what its client's last request meant it to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.lab.load.content import Content, image_name
from include.lab.load.expectations import Found, intent_of, judge
from include.lab.load.lines import Operation
from tests.unit.lab.load.builders import begun, line

CONTENT = Content(1, 10)
NAME = image_name("0a1b2c3d", CONTENT)
RIGHT = Found(NAME, "active", 10, CONTENT.sha512)
UPLOADED = [line("create", "i1", name=NAME), line("upload", "i1")]


def verdict(lines: list[Operation], found: dict[str, Found]) -> list[tuple[str, str]]:
    return [(wrong.image, wrong.found) for wrong in judge(intent_of(lines, []), found)]


def test_an_uploaded_image_that_is_whole_is_right() -> None:
    assert verdict(UPLOADED, {"i1": RIGHT}) == []


@pytest.mark.parametrize("status", ["saving", "queued", "importing", "deleted"])
def test_an_uploaded_image_in_another_state_is_wrong(status: str) -> None:
    assert verdict(UPLOADED, {"i1": replace(RIGHT, status=status)}) == [("i1", status)]


def test_an_uploaded_image_that_is_not_there_is_wrong() -> None:
    assert verdict(UPLOADED, {}) == [("i1", "missing")]


def test_a_wrong_size_and_a_wrong_hash_are_seen() -> None:
    assert verdict(UPLOADED, {"i1": replace(RIGHT, size=9)}) == [("i1", "9 bytes")]
    assert verdict(UPLOADED, {"i1": replace(RIGHT, sha512="0" * 128)})[0][0] == "i1"
    assert verdict(UPLOADED, {"i1": replace(RIGHT, sha512=None)})[0][0] == "i1"


def test_a_failed_upload_still_means_that_the_user_wanted_the_image() -> None:
    lines = [line("create", "i1", name=NAME), line("slow_upload", "i1", ok=False)]
    assert verdict(lines, {"i1": replace(RIGHT, status="saving", size=None)}) == [("i1", "saving")]
    assert verdict(lines, {"i1": RIGHT}) == []


@pytest.mark.parametrize("ok", [True, False])
def test_a_deleted_image_must_be_gone(ok: bool) -> None:
    lines = [*UPLOADED, line("delete", "i1", ok=ok)]
    assert verdict(lines, {}) == []
    assert verdict(lines, {"i1": RIGHT}) == [("i1", "active")]


def test_an_image_whose_create_failed_must_not_exist() -> None:
    assert verdict([line("create", None, ok=False, name=NAME)], {"i9": replace(RIGHT, status="queued")}) == [
        ("i9", "queued")
    ]


@pytest.mark.parametrize("op", ["upload", "delete"])
def test_nothing_is_said_of_an_image_whose_request_was_cut_with_the_load(op: str) -> None:
    lines = [line("create", "i1", name=NAME)] if op == "upload" else UPLOADED
    intent = intent_of(lines, [begun("create", name=NAME), begun(op, "i1")])
    for found in ({}, {"i1": RIGHT}, {"i1": replace(RIGHT, status="saving")}):
        assert judge(intent, found) == []


def test_nothing_is_said_of_an_image_whose_create_was_cut_with_the_load() -> None:
    intent = intent_of([], [begun("create", name=NAME)])
    assert judge(intent, {"i9": replace(RIGHT, status="queued")}) == []
