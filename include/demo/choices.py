"""What the user may choose for the demo. Standard library only: checked before anything is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping  # noqa: UP035  (may be read by a python3 older than the project's)

MIN_NODES = 2
MAX_NODES = 8
_NO = frozenset({"", "0", "false", "no"})
UNTOUCHED = "Nothing was changed."


class BadChoiceError(ValueError):
    """A setting that cannot work; the message names it, what was found and what is allowed."""


@dataclass(frozen=True)
class Choices:
    """The settings of one demo."""

    nodes: int
    from_release: str
    to_release: str
    leave_at_end: bool


def read(environment: Mapping[str, str], releases: Path) -> Choices:
    """Read DEMO_NODES, DEMO_FROM, DEMO_TO, DEMO_EXIT and CI. ``releases`` is the folder of what can be built.

    Raises BadChoiceError.
    """
    choices = Choices(
        nodes=_nodes(environment.get("DEMO_NODES", "") or "3"),
        from_release=_release("DEMO_FROM", environment.get("DEMO_FROM", "") or "26.1.0", releases),
        to_release=_release("DEMO_TO", environment.get("DEMO_TO", "") or "28.1.0", releases),
        leave_at_end=_truth(environment, "DEMO_EXIT") or _is_build_server(environment),
    )
    if _numbers(choices.from_release) >= _numbers(choices.to_release):
        raise BadChoiceError(
            f"DEMO_FROM is {choices.from_release} and DEMO_TO is {choices.to_release}; an upgrade needs "
            f"DEMO_TO to be the later one. {UNTOUCHED}"
        )
    return choices


def _nodes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_NODES:
        raise BadChoiceError(f"DEMO_NODES is {text!r}; expected a number from {MIN_NODES} to {MAX_NODES}. {UNTOUCHED}")
    if int(text) < MIN_NODES:
        raise BadChoiceError(
            f"DEMO_NODES is {text}; a rolling upgrade needs at least {MIN_NODES} nodes, so that one serves "
            f"while the other is out. Expected {MIN_NODES} to {MAX_NODES}. {UNTOUCHED}"
        )
    return int(text)


def _release(name: str, text: str, releases: Path) -> str:
    known = sorted((p.parent.name for p in releases.glob("*/requirements.lock")), key=_numbers)
    if text not in known:
        raise BadChoiceError(
            f"{name} is {text!r}; expected a release that can be built here: {', '.join(known) or 'none'}. {UNTOUCHED}"
        )
    return text


def _truth(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "").strip().lower()
    if text in _NO:
        return False
    if text in {"1", "true", "yes"}:
        return True
    raise BadChoiceError(f"{name} is {text!r}; expected 1, true, yes, 0, false, no or nothing. {UNTOUCHED}")


def _is_build_server(environment: Mapping[str, str]) -> bool:
    """CI is set by others, each in its own way: some to the server's name."""
    return environment.get("CI", "").strip().lower() not in _NO


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))
