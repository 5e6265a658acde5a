"""A dump's lines for another schema than the one that was dumped. Pure.

A dump of one schema names it only in ALTER DATABASE, around routines that were made under another character set, and
where a trigger was made by its full name; carried out as they are, both would change the schema that serves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_USER = rb"`(?:[^`]|``)*`"
_DEFINER = re.compile(
    rb"^(CREATE (?:OR REPLACE )?|/\*!\d+ CREATE\*/ /\*!\d+ |/\*!\d+ )DEFINER=" + _USER + rb"(?:@" + _USER + rb")? ?"
)
_EVENT = re.compile(rb"^/\*!\d+ CREATE\*/ .*\bEVENT\b")
_TRIGGER = re.compile(rb"^/\*!\d+ CREATE\*/ .*?\bTRIGGER\b.*?(?:\bFOR EACH ROW\b|$)", re.IGNORECASE)
_ENABLED = re.compile(rb"(ON COMPLETION (?:NOT )?PRESERVE) ENABLE\b")


def for_schema(
    lines: Iterable[bytes], source: str, target: str, *, on_trial: bool = False, own: bool = False
) -> Iterator[bytes]:
    """The same objects, in ``target``. ``on_trial``: no event would run; ``own``: of the login that restores them.

    To make objects of other definers takes a privilege over all of the server, which a proof is not worth.
    """
    alter = b"ALTER DATABASE " + _quoted(source)
    full_name = re.compile(rb"(\b(?:TRIGGER|EXISTS|ON)\s+)`?" + re.escape(source.encode()) + rb"`?\s*\.", re.IGNORECASE)
    for line in lines:
        if line.startswith(alter):
            yield b"ALTER DATABASE " + _quoted(target) + line[len(alter) :]
        elif line.startswith((b"CREATE ", b"/*!")):
            made = _DEFINER.sub(rb"\1", line, count=1) if own else line
            made = _TRIGGER.sub(lambda found: full_name.sub(rb"\1", found[0]), made, count=1)
            yield _ENABLED.sub(rb"\1 DISABLE", made, count=1) if on_trial and _EVENT.match(made) else made
        else:
            yield line


def _quoted(name: str) -> bytes:
    return b"`" + name.encode().replace(b"`", b"``") + b"`"
