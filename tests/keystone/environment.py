"""Keystone, for the tests that need a real one: installed once, from its pins, into the lab's cache.

``python -m tests.keystone.environment`` makes it where it is not there, as root, through sudo if need be.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from include.lab import privileges
from include.lab.commands import run
from include.lab.errors import LabError
from include.lab.settings import PROJECT_ROOT, from_environment

LOCK = Path(__file__).with_name("requirements.lock")
_UV = PROJECT_ROOT / ".venv" / "bin" / "uv"
_MODULE = "tests.keystone.environment"


def path(cache: Path) -> Path:
    """Where the virtual environment of today's pins is in the lab's cache, once it is whole."""
    return cache / "tests" / f"keystone-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"


def ensure(cache: Path) -> Path:
    """The virtual environment, made if it is not there. Raises LabError."""
    target = path(cache)
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".keystone-", dir=target.parent))
    except OSError as error:
        raise LabError(
            f"Keystone cannot be installed into {target.parent}: {error}.",
            expected="a folder that can be written.",
            safe="nothing was changed.",
            next_step=f"run `PYTHONPATH=.:plugins .venv/bin/python -m {_MODULE}`, as `make test` does.",
        ) from error
    try:
        _install(new, cache)
        _keep(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target


def _install(folder: Path, cache: Path) -> None:
    environment = {
        **os.environ,
        "UV_PYTHON_DOWNLOADS": "never",
        # Shared with the builds of releases: what must be compiled is compiled once.
        "UV_CACHE_DIR": str(cache / "work" / "uv-cache"),
    }
    make: list[str | Path] = [_UV, "venv", "--quiet", "--no-config", "--relocatable", "--allow-existing"]
    run([*make, "--python", sys.executable, folder], environment=environment)
    install: list[str | Path] = [
        _UV, "pip", "install", "--quiet", "--no-config", "--system-certs", "--require-hashes", "--link-mode=copy",
        "--compile-bytecode", "--python", folder / "bin" / "python", "-r", LOCK,
    ]  # fmt: skip
    run(install, environment=environment, seconds=1800)


def _keep(new: Path, target: Path) -> None:
    """Put the whole one in its place and remove those of earlier pins."""
    new.chmod(0o755)
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():  # else another test run was faster, with the same pins
            raise
    for other in target.parent.glob("keystone-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def main() -> None:
    """Exit status 1, with the cause on standard error, when it cannot be made."""
    try:
        cache = from_environment().cache
        if path(cache).is_dir():
            return
        privileges.need_root(_MODULE)
        print(f"Installing Keystone for the tests into {ensure(cache)}")
    except (LabError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
