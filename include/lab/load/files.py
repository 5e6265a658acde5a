"""Writing the load's files so that a reader never sees half a file, and so that their owner can read them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from include.lab.privileges import give_to_user, invoking_user


def make_directory(path: Path) -> None:
    """Make the directory, owned by the invoking user, where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        give_to_user(path)


def give_to_owner(descriptor: int) -> None:
    """Give an open file to the invoking user, who must be able to use it without sudo as well."""
    if os.geteuid() == 0:
        os.fchown(descriptor, *invoking_user())


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step. Raises OSError; then the old file is untouched."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), 0o644)
            give_to_owner(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Mapping[str, object]) -> None:
    write_atomically(path, json.dumps(data, indent=1) + "\n")


def read_json(path: Path) -> dict[str, object] | None:
    """The object in the file; None where there is no file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds {type(data).__name__}, expected an object")
    return data
