"""A node over SSH: run a command, ask what the service does, bring files.

Commands are lists of words and are quoted here, once. Host keys are always checked.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from rolling_upgrade.decisions.proof import NodeView
from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import Node
from rolling_upgrade.hooks.connections import usable
from rolling_upgrade.services.profile import ServiceProfile

if TYPE_CHECKING:
    from airflow.providers.ssh.hooks.ssh import SSHHook
    from paramiko import Channel, SFTPClient, SSHClient

COMMAND_SECONDS = 60.0
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class CommandResult:
    """What a command on a node printed, and its exit status."""

    status: int
    stdout: str
    stderr: str


class NodeHook:
    """One node, reached as the SSH user of its connection; ``sudo -n`` where a command needs it."""

    def __init__(self, node: Node, ssh: SSHHook) -> None:
        if ssh.no_host_key_check or ssh.allow_host_key_change:
            raise PrecheckError(
                f"connection {node.ssh_connection} of {node.name} does not check the host key.",
                expected="`no_host_key_check: false` and a `host_key`, or the host in known_hosts.",
                safe="nothing was sent to the node.",
                next_step="correct the connection in Airflow, then clear this task.",
            )
        self.node = node
        self._ssh = ssh
        self._client: SSHClient | None = None

    @classmethod
    def from_connection(cls, node: Node) -> NodeHook:
        from airflow.providers.ssh.hooks.ssh import SSHHook

        # Its transport thread prints a traceback for each refused connection; the error raised here says it once.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        # One attempt: a step that cannot reach its node says so at once, and a sensor asks again by itself.
        with usable(node.ssh_connection):
            ssh = SSHHook(ssh_conn_id=node.ssh_connection, conn_timeout=CONNECT_SECONDS, conn_retry_attempts=1)
        return cls(node, ssh)

    @contextmanager
    def connected(self) -> Iterator[NodeHook]:
        """One SSH connection for everything inside. Raises UnreachableError."""
        from paramiko import SSHException

        try:
            self._client = self._ssh.get_conn()
        except (OSError, SSHException, EOFError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error
        try:
            yield self
        finally:
            self._client.close()
            self._client = None

    def run(
        self,
        command: Sequence[str],
        *,
        sudo: str | None = None,
        stdin: bytes = b"",
        timeout: float = COMMAND_SECONDS,
        what: str | None = None,
    ) -> CommandResult:
        """Run a command, as another user through sudo if ``sudo`` names one. ``timeout`` is in seconds.

        ``what`` it does, for messages; else the command itself stands there.
        Raises UnreachableError when the connection breaks or the time is over; the command may then still run.
        """
        from paramiko import SSHException

        words = ["sudo", "-n", "-u", sudo, "--", *command] if sudo else list(command)
        if self._client is None:
            with self.connected():
                return self.run(command, sudo=sudo, stdin=stdin, timeout=timeout, what=what)
        try:
            transport = self._client.get_transport()
            if transport is None:
                raise SSHException("the connection is closed")
            channel = transport.open_session(timeout=timeout)
            with channel:
                channel.exec_command(shlex.join(words))
                return _converse(channel, stdin, time.monotonic() + timeout)
        except (OSError, SSHException, EOFError) as error:
            named = what or f"`{shlex.join(command)[:120]}`"
            raise self._unreachable(f"{named}: {error or type(error).__name__}") from error

    def must_run(
        self,
        command: Sequence[str],
        *,
        sudo: str | None = None,
        stdin: bytes = b"",
        timeout: float = COMMAND_SECONDS,
        what: str | None = None,
    ) -> str:
        """Run a command that must end with status 0; returns its standard output. Raises VerifyError."""
        result = self.run(command, sudo=sudo, stdin=stdin, timeout=timeout, what=what)
        if result.status != 0:
            said = (result.stderr.strip() or result.stdout.strip())[-800:]
            named = what or f"`{shlex.join(command)[:200]}`"
            raise VerifyError(
                f"{named} on {self.node.name} ended with {result.status}: {said}",
                expected="exit status 0.",
                safe="no later step of this node has begun.",
                next_step="look at what it said, mend it on the node, then clear this task.",
            )
        return result.stdout

    def script(
        self,
        what: str,
        text: str,
        *arguments: str,
        sudo: str | None = "root",
        stdin: bytes = b"",
        timeout: float = COMMAND_SECONDS,
    ) -> str:
        """Run a constant shell script with ``arguments`` as $1, $2, …; never with values inside its text.

        ``what`` it does stands in messages in its place.
        """
        command = ["sh", "-euc", text, "step", *arguments]
        return self.must_run(command, sudo=sudo, stdin=stdin, timeout=timeout, what=what)

    def observe(self, profile: ServiceProfile) -> NodeView:
        """What the service does on the node now. Raises UnreachableError or VerifyError."""
        probe = files("rolling_upgrade.services").joinpath("node_probe.py").read_bytes()
        command = ["python3", "-I", "-", profile.unit, str(profile.port), profile.root, profile.name]
        said = self.must_run(command, sudo="root", stdin=probe)
        try:
            # The last line: a login may print a banner before.
            return NodeView.from_dict(json.loads(said.strip().rpartition("\n")[2]))
        except (ValueError, KeyError, TypeError) as error:
            raise VerifyError(
                f"{self.node.name} answered the question for its processes with {said[-200:]!r}.",
                expected="one line of JSON.",
                safe="the question changes nothing; an answer that cannot be read proves nothing.",
                next_step="see what `sudo -n python3 -I -c 'print(1)'` prints there besides, then clear this task.",
            ) from error

    def established(self, port: int) -> int:
        """Established TCP connections on the service's port."""
        out = self.must_run(["ss", "-Htn", "state", "established", f"( sport = :{port} )"])
        return len(out.splitlines())

    @contextmanager
    def sftp(self) -> Iterator[SFTPClient]:
        """Files of the node, within ``connected``. What happens inside is raised as it is. Raises UnreachableError."""
        from paramiko import SSHException

        try:
            if self._client is None:
                raise SSHException("there is no connection")
            sftp = self._client.open_sftp()
        except (OSError, SSHException, EOFError) as error:
            raise self._unreachable(f"sftp: {error or type(error).__name__}") from error
        with sftp:
            yield sftp

    def upload(self, local: Path, remote: str) -> None:
        """Bring a file to a path that the SSH user may write. Raises UnreachableError."""
        from paramiko import SSHException

        if self._client is None:
            with self.connected():
                return self.upload(local, remote)
        try:
            with self._client.open_sftp() as sftp:
                sftp.put(str(local), remote, confirm=True)
        except (OSError, SSHException, EOFError) as error:
            raise self._unreachable(f"bringing {local.name}: {error}") from error
        return None

    def write(self, path: str, content: bytes, *, owner: str, group: str, mode: str) -> None:
        """Write a file as root: complete, with its owner and mode, under a temporary name, then renamed."""
        self.script(
            f"writing {path}",
            'new=$(mktemp "$1.XXXXXX"); trap \'rm -f "$new"\' EXIT; '
            'cat > "$new"; chown "$2:$3" "$new"; chmod "$4" "$new"; mv -T "$new" "$1"',
            path,
            owner,
            group,
            mode,
            stdin=content,
        )

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"node {self.node.name} ({self.node.address}) cannot be asked over SSH: {why}.",
            expected="an answer from the node.",
            safe="the rollout goes no further; a node that cannot be asked proves nothing.",
            next_step="make the node reachable again, then clear this task.",
        )


def _converse(channel: Channel, stdin: bytes, deadline: float) -> CommandResult:
    """Send all of ``stdin`` and read both outputs to their end, in turns, so that neither side blocks the other.

    A command that ends without reading its input has ended all the same. Raises EOFError when the connection breaks.
    """
    import select

    out, err = bytearray(), bytearray()
    unsent = stdin
    if not unsent:
        channel.shutdown_write()
    # poll, unlike select, takes any number of open files: a triggerer has many.
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    while True:
        unsent = _send_some(channel, unsent)
        # Looked at before the rest is read, so that nothing can come after it; and in this order, as a peer that
        # ends well sends its end of file before it closes.
        closed, ended = channel.closed, channel.eof_received and channel.exit_status_ready()
        while channel.recv_ready():
            out += channel.recv(65_536)
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(65_536)
        if ended:
            return CommandResult(channel.recv_exit_status(), out.decode(errors="replace"), err.decode(errors="replace"))
        if closed:
            raise EOFError("the connection broke before the command ended")
        if time.monotonic() > deadline:
            raise TimeoutError("no end within the time allowed")
        if channel.eof_received:
            # Its file is readable for ever now; only the exit status is still to come.
            channel.status_event.wait(0.05)
        else:
            # Room for more input wakes nobody, so look for it often while there is some.
            poller.poll(5 if unsent else 50)


def _send_some(channel: Channel, unsent: bytes) -> bytes:
    """Send as much as the peer takes now; returns the rest, nothing once the peer takes no more at all."""
    if not unsent:
        return unsent
    view, sent = memoryview(unsent), 0
    while sent < len(view) and channel.send_ready():
        try:
            sent += channel.send(bytes(view[sent : sent + 32_768]))
        except OSError:
            return b""  # closed by the peer: the command has ended
    if sent == len(view):
        channel.shutdown_write()
    return bytes(view[sent:])
