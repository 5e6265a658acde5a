"""A dump's lines for another schema than the one that was dumped. Pure.

A dump of one schema names it nowhere but in ALTER DATABASE, around routines that were made under another character
set; there it would change the schema that serves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_USER = rb"`(?:[^`]|``)*`"
_DEFINER = re.compile(
    rb"^(CREATE (?:OR REPLACE )?|/\*!\d+ CREATE\*/ /\*!\d+ |/\*!\d+ )DEFINER=" + _USER + rb"(?:@" + _USER + rb")? ?"
)
_EVENT = re.compile(rb"^/\*!\d+ CREATE\*/ .*\bEVENT\b")
_ENABLED = re.compile(rb"(ON COMPLETION (?:NOT )?PRESERVE) ENABLE\b")


def for_schema(
    lines: Iterable[bytes], source: str, target: str, *, on_trial: bool = False, own: bool = False
) -> Iterator[bytes]:
    """The same objects, in ``target``. ``on_trial``: no event would run; ``own``: of the login that restores them.

    To make objects of other definers takes a privilege over all of the server, which a proof is not worth.
    """
    alter = b"ALTER DATABASE " + _quoted(source)
    for line in lines:
        if line.startswith(alter):
            yield b"ALTER DATABASE " + _quoted(target) + line[len(alter) :]
        elif line.startswith((b"CREATE ", b"/*!")):
            made = _DEFINER.sub(rb"\1", line, count=1) if own else line
            yield _ENABLED.sub(rb"\1 DISABLE", made, count=1) if on_trial and _EVENT.match(made) else made
        else:
            yield line


def _quoted(name: str) -> bytes:
    return b"`" + name.encode().replace(b"`", b"``") + b"`"
