"""Names of the lab's cgroups."""

from __future__ import annotations

import re

from include.lab.errors import LabError
from include.lab.lifecycle import own_groups
from include.lab.settings import from_environment

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,39}$")


def check_name(group: str) -> None:
    """Raises LabError for what is no name of a group; so a name can never lead out of the lab's own cgroup."""
    if not _NAME.fullmatch(group):
        raise LabError(
            f"{group!r} is no name of a group.",
            expected="lower-case letters, digits and hyphens, beginning with a letter, 40 at most.",
            safe="nothing was changed.",
        )


def check_free(group: str) -> None:
    """Raises LabError for a name that is wrong or that a machine or service of the lab has."""
    check_name(group)
    if group in own_groups(from_environment()):
        raise LabError(
            f"group {group!r} is one of the lab's own machines or services.",
            expected="a name of your own.",
            safe="nothing was changed.",
        )
