"""Writing a dump of the service's database to a file on this worker."""

from __future__ import annotations

import gzip
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

DUMP = (
    "mariadb-dump", "--single-transaction", "--routines", "--triggers", "--events", "--hex-blob",
)  # fmt: skip


def write_dump(login: Mapping[str, object], schema: str, target: Path) -> tuple[int, str]:
    """Dump ``schema`` into ``target``, compressed; returns exit status and what the tool said.

    ``login`` holds host, port, user and password. They go through a file that only this user can read, since a
    command line is public. Raises OSError.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as options:
        options.write("[client]\n")
        options.writelines(f'{key}="{_quoted(str(value))}"\n' for key, value in login.items())
        options.flush()
        command = [DUMP[0], f"--defaults-file={options.name}", *DUMP[1:], schema]
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=5) as out,
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as dump,
        ):
            assert dump.stdout is not None  # noqa: S101 - it was asked for
            while chunk := dump.stdout.read(1 << 20):
                out.write(chunk)
            status = dump.wait()
            errors.seek(0)
            return status, errors.read().decode(errors="replace").strip()


def _quoted(value: str) -> str:
    """A value between double quotes in an option file, with MySQL's escapes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
