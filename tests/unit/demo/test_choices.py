from __future__ import annotations

from pathlib import Path

import pytest

from include.demo import choices


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    for version in ("26.1.0", "28.1.0", "30.1.0"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "requirements.lock").touch()
    (tmp_path / "9.9.9").mkdir()
    return tmp_path


def test_without_settings_three_nodes_go_from_26_to_28(releases: Path) -> None:
    assert choices.read({}, releases) == choices.Choices(3, "26.1.0", "28.1.0", leave_at_end=False)


def test_empty_settings_are_as_good_as_none(releases: Path) -> None:
    empty = dict.fromkeys(("DEMO_NODES", "DEMO_FROM", "DEMO_TO", "DEMO_EXIT", "CI"), "")
    assert choices.read(empty, releases) == choices.read({}, releases)


def test_another_pair_and_size(releases: Path) -> None:
    env = {"DEMO_NODES": "5", "DEMO_FROM": "28.1.0", "DEMO_TO": "30.1.0", "CI": "true"}
    assert choices.read(env, releases) == choices.Choices(5, "28.1.0", "30.1.0", leave_at_end=True)


@pytest.mark.parametrize(
    ("value", "leaves"),
    [("true", True), ("1", True), ("woodpecker", True), ("True", True), ("off", True)]
    + [(value, False) for value in ("", " ", "0", "false", "FALSE", "no")],
)
def test_a_build_server_may_name_itself(value: str, leaves: bool, releases: Path) -> None:
    assert choices.read({"CI": value}, releases).leave_at_end is leaves


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"DEMO_NODES": "1"}, "at least 2 nodes"),
        ({"DEMO_NODES": "0"}, "from 2 to 8"),
        ({"DEMO_NODES": "9"}, "from 2 to 8"),
        ({"DEMO_NODES": "three"}, "'three'"),
        ({"DEMO_NODES": "-3"}, "'-3'"),
        ({"DEMO_NODES": "\u0663"}, "from 2 to 8"),
        ({"DEMO_FROM": "26"}, "26.1.0, 28.1.0, 30.1.0"),
        ({"DEMO_TO": "9.9.9"}, "DEMO_TO is '9.9.9'"),
        ({"DEMO_TO": "../26.1.0"}, "DEMO_TO"),
        ({"DEMO_FROM": "28.1.0"}, "the later one"),
        ({"DEMO_FROM": "30.1.0"}, "the later one"),
        ({"DEMO_EXIT": "maybe"}, "DEMO_EXIT is 'maybe'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(env: dict[str, str], wanted: str, releases: Path) -> None:
    with pytest.raises(choices.BadChoiceError) as refused:
        choices.read(env, releases)
    assert wanted in str(refused.value)
    assert "Nothing was changed." in str(refused.value)
