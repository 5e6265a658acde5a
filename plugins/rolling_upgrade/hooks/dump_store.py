"""Where dumps lie: a folder of this worker, or of the database's host over SSH.

A store has only what it made: names without a path. All of it raises OSError when the folder does not do as it is told,
UnreachableError when the host does not answer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from rolling_upgrade.decisions.backups import SUFFIX, Manifest
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.connections import usable
from rolling_upgrade.hooks.node import NodeHook

if TYPE_CHECKING:
    from paramiko import SFTPClient

SUM_SECONDS = 3600.0
PARTIAL = ".partial"
WORKER = "worker"


class Store(Protocol):
    """A folder for dumps."""

    folder: str
    host: str
    """``worker``, or the id of an SSH connection."""
    where: str
    """For people: both."""

    def prepare(self) -> None: ...
    def free_bytes(self) -> int: ...
    def names(self) -> list[str]: ...
    def create(self, name: str) -> BinaryIO: ...
    def open(self, name: str) -> BinaryIO: ...
    def size(self, name: str) -> int: ...
    def sha256(self, name: str) -> str: ...
    def rename(self, name: str, new: str) -> None: ...
    def remove(self, name: str) -> None: ...


class LocalStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = str(folder)
        self.host = WORKER
        self.where = f"{folder} on this worker"

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def create(self, name: str) -> BinaryIO:
        return os.fdopen(os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")

    def open(self, name: str) -> BinaryIO:
        return (self._folder / name).open("rb")

    def size(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def sha256(self, name: str) -> str:
        with (self._folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def rename(self, name: str, new: str) -> None:
        with self.open(name) as file:
            os.fsync(file.fileno())
        (self._folder / name).rename(self._folder / new)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class SshStore:
    """A folder of another machine, as the SSH user of its connection; that user needs no sudo for it."""

    def __init__(self, host: NodeHook, sftp: SFTPClient, folder: str) -> None:
        self._host = host
        self._sftp = sftp
        self._folder = folder
        self.folder = folder
        self.host = host.node.ssh_connection
        self.where = f"{folder} on {host.node.address} (connection {host.node.ssh_connection})"

    def prepare(self) -> None:
        self._must("mkdir", "-p", "-m", "700", "--", self._folder)

    def free_bytes(self) -> int:
        # POSIX: the fourth column of the last line, in KiB.
        return int(self._must("df", "-Pk", "--", self._folder).splitlines()[-1].split()[3]) * 1024

    def names(self) -> list[str]:
        try:
            return self._sftp.listdir(self._folder)
        except FileNotFoundError:
            return []

    def create(self, name: str) -> BinaryIO:
        file = self._sftp.open(self._path(name), "w+b", bufsize=1 << 18)
        file.chmod(0o600)
        file.set_pipelined(True)
        return cast("BinaryIO", file)

    def open(self, name: str) -> BinaryIO:
        file = self._sftp.open(self._path(name), "rb", bufsize=1 << 18)
        file.prefetch()
        return cast("BinaryIO", file)

    def size(self, name: str) -> int:
        return int(self._sftp.stat(self._path(name)).st_size or 0)

    def sha256(self, name: str) -> str:
        return self._must("sha256sum", "--", self._path(name)).split()[0].removeprefix("\\")

    def rename(self, name: str, new: str) -> None:
        self._must("sync", "--", self._path(name))
        self._sftp.posix_rename(self._path(name), self._path(new))

    def remove(self, name: str) -> None:
        try:
            self._sftp.remove(self._path(name))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _must(self, *command: str) -> str:
        result = self._host.run(command, timeout=SUM_SECONDS)
        if result.status != 0:
            raise OSError(f"`{command[0]}` on {self._host.node.address}: {result.stderr.strip()[-300:]}")
        return result.stdout


@contextmanager
def store_at(folder: str, host: str) -> Iterator[Store]:
    """The folder on ``host``: WORKER for this machine, else the id of an SSH connection; its host key is checked."""
    if host == WORKER:
        yield LocalStore(Path(folder))
        return
    from airflow.sdk import BaseHook
    from paramiko import SSHException

    with usable(host):
        address = str(BaseHook.get_connection(host).host)
    # Not a node of the fleet, and its address may be a name.
    hook = NodeHook.from_connection(Node.model_construct(name=host, address=address, ssh_connection=host))
    with hook.connected() as ssh, ssh.sftp() as sftp:
        try:
            yield SshStore(ssh, sftp, folder)
        except (EOFError, SSHException) as error:
            raise OSError(f"the SSH connection {host} broke: {error or type(error).__name__}") from error


@contextmanager
def dumps_of(fleet: Fleet) -> Iterator[Store]:
    """The folder of a fleet's dumps. Fleets that share a directory share no folder in it."""
    with store_at(f"{fleet.backup.directory}/{fleet.name}", fleet.backup.host) as store:
        yield store


def manifests(store: Store, fleet: str, database: str) -> list[Manifest]:
    """What is known of the dumps of this fleet's database that are there; whatever else lies there is not seen."""
    names = store.names()
    found = []
    for name in names:
        if not name.endswith(SUFFIX) or name.removesuffix(SUFFIX) not in names:
            continue
        try:
            manifest = manifest_of(store, name.removesuffix(SUFFIX))
        except ValueError:
            continue
        if manifest.is_of(fleet, database, name.removesuffix(SUFFIX)):
            found.append(manifest)
    return found


def manifest_of(store: Store, name: str) -> Manifest:
    """What stands beside a dump. Raises ValueError, OSError."""
    with store.open(name + SUFFIX) as file:
        return Manifest.from_json(file.read().decode())


def write_text(store: Store, name: str, text: str) -> None:
    """A file that is complete or not there."""
    with store.create(name + PARTIAL) as file:
        file.write(text.encode())
    store.rename(name + PARTIAL, name)
