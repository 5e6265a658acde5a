"""Why something could not be built, read from what the programs that built it have written. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAIL_LINES = 15
_DETAIL_LENGTH = 200
# What uv, apt and debootstrap write where a server is not reached or does not give a file.
_NOT_DOWNLOADED = re.compile(
    r"failed to fetch|error sending request|failed to download|temporary failure (?:in name resolution|resolving)"
    r"|could not (?:resolve|connect)|couldn't download|failed getting release file|unable to (?:fetch|connect)"
    r"|connection (?:refused|timed out|reset)|network is unreachable",
    re.IGNORECASE,
)
_NOT_PINNED = re.compile(r"hash mismatch|hashes? (?:do|does) not match|hash sum mismatch", re.IGNORECASE)
_NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)


@dataclass(frozen=True)
class Cause:
    """What went wrong, as the end of the sentence "... could not be built:", and what to do about it."""

    why: str
    next_step: str


def cause(log: str) -> Cause:
    """The cause that the log of a failed build tells; where it is none of the known ones, the log's end."""
    if lines := _matching(_NO_SPACE, log):
        return Cause(f"the disk is full ({lines[0]}).", "free some space, then try again")
    if lines := _matching(_NOT_PINNED, log):
        return Cause(
            f"a package is not the pinned one ({lines[0]}).",
            "look which index or mirror gives another file than the lock has; it was not used",
        )
    if lines := _matching(_NOT_DOWNLOADED, log):
        # The first says what was wanted, the last, the innermost cause, why it did not come.
        detail = "; ".join(dict.fromkeys((lines[0], lines[-1])))
        return Cause(
            f"its packages could not be downloaded ({detail}).",
            "check the network, and the proxy and package index that this machine uses, then try again",
        )
    return Cause(
        "\n".join(["the build said last:", *log.splitlines()[-_TAIL_LINES:]]), "mend what it names, then try again"
    )


def _matching(pattern: re.Pattern[str], log: str) -> list[str]:
    """The lines that match, without what their writers put before the words."""
    found = (line for line in log.splitlines() if pattern.search(line))
    stripped = (re.sub(r"^\s*(?:(?:[EW]|error|cause|Caused by): ?)+", "", line) for line in found)
    return [line.strip().rstrip(".")[:_DETAIL_LENGTH] for line in stripped]
