"""Writing a dump of the service's database, and reading it meanwhile."""

from __future__ import annotations

import gzip
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from rolling_upgrade.decisions.dump import DumpContent, DumpReader
from rolling_upgrade.hooks.client_tools import DIES_WITH_US, DUMP, Login, knows, option_file, tool, version

OPTIONS = ("--single-transaction", "--routines", "--triggers", "--events", "--hex-blob")
MYSQL_ONLY = ("--set-gtid-purged=OFF", "--column-statistics=0")
"""Without these MySQL's tool writes what a restore may not set, and asks what other servers do not know."""
CHUNK = 1 << 20
DENIED = re.compile(r"access denied|privilege|command denied", re.IGNORECASE)


@dataclass(frozen=True)
class Dumped:
    """How a dump ended, what the tool said, and what it wrote."""

    program: str
    status: int
    said: str
    content: DumpContent
    tool: str
    no_position: str = ""


def write_dump(login: Login, schema: str, target: BinaryIO, *, position: bool) -> Dumped:
    """Dump ``schema`` into ``target``, compressed; with the position of the binary log if ``position``.

    Where the login may not see the position, the dump is begun again without it and says so; ``target`` must be
    seekable then. Raises OSError when ``target`` cannot be written, PrecheckError without a tool.
    """
    program = tool(DUMP)
    plain = [*OPTIONS, *(option for option in MYSQL_ONLY if knows(program, option.partition("=")[0]))]
    if not position:
        return _write(login, program, [*plain, schema], target, "the server's binary log is off")
    option = "--source-data=2" if knows(program, "--source-data") else "--master-data=2"
    dumped = _write(login, program, [*plain, option, schema], target, "")
    if dumped.status == 0 or dumped.content.rows or not DENIED.search(dumped.said):
        return dumped
    target.seek(0)
    target.truncate(0)
    return _write(login, program, [*plain, schema], target, f"the login may not see it: {dumped.said[-300:]}")


def _write(login: Login, program: str, arguments: Sequence[str], target: BinaryIO, no_position: str) -> Dumped:
    reader = DumpReader()
    with option_file(login) as options, tempfile.TemporaryFile() as errors:
        command = [*DIES_WITH_US, program, options, *arguments]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, bufsize=CHUNK) as dump,
            gzip.GzipFile(fileobj=target, mode="wb", compresslevel=5) as packed,
        ):
            assert dump.stdout is not None  # noqa: S101 - it was asked for
            try:
                unwritten = bytearray()
                for line in dump.stdout:
                    reader.read(line)
                    unwritten += line
                    if len(unwritten) > CHUNK:
                        packed.write(unwritten)
                        unwritten.clear()
                packed.write(unwritten)
                status = dump.wait()
            except BaseException:
                # It may wait for a lock in the server; nobody is left to read what it would say.
                dump.kill()
                raise
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    return Dumped(program, status, said, reader.content, version(program), no_position)
