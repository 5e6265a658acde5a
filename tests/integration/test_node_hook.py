"""NodeHook over a real sshd: nothing is lost, misquoted, or trusted that must not be."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import Node
from rolling_upgrade.hooks.node import NodeHook
from tests.integration.parts.processes import free_port, until
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import Sshd, new_host_key

pytestmark = pytest.mark.integration

NODE = Node(name="node1", address="127.0.0.1", ssh_connection="it_node1")
NASTY = [
    "plain",
    "two words",
    "",
    "it's",
    'a "quoted" word',
    "$(touch /nonexistent/x) `id` $HOME ${PATH}",
    "; exit 3; & | > < * ? [a] {b,c} ~ # !",
    "first\nsecond\n",
    "\ttab \\ backslash \\n",
    "Grüße, 世界, \U0001f680",
    "-n",
    "--",
]
# The nearest sshd above a command is the one of its own connection, and never the one that listens.
KILL_OWN_CONNECTION = """\
pid=$$
while [ "$(cat "/proc/$pid/comm")" != sshd ]; do pid=$(ps -o ppid= -p "$pid" | tr -d " "); done
kill -9 "$pid"; sleep 5
"""


@pytest.fixture
def node(ssh_server: Sshd, set_connection: SetConnection) -> NodeHook:
    set_connection("it_node1", ssh_server.connection())
    return NodeHook.from_connection(NODE)


@pytest.mark.parametrize("sudo", [None, "root"])
def test_arguments_arrive_as_they_were_given(node: NodeHook, sudo: str | None) -> None:
    result = node.run(["python3", "-I", "-c", "import sys; print(ascii(sys.argv[1:]))", *NASTY], sudo=sudo)

    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.strip() == ascii(NASTY)


def test_a_scripts_arguments_are_values_and_never_code(node: NodeHook) -> None:
    out = node.script("printing", 'printf "<%s>" "$@"', *NASTY)

    assert out == "".join(f"<{word}>" for word in NASTY)


def test_sudo_is_the_user_that_was_named(node: NodeHook) -> None:
    assert node.must_run(["id", "-un"], sudo="root").strip() == "root"


def test_both_outputs_and_the_exit_status_come_back(node: NodeHook) -> None:
    result = node.run(["sh", "-c", "echo out; echo err >&2; exit 7"])

    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_many_megabytes_go_both_ways_at_once_with_stderr_too(node: NodeHook) -> None:
    data = os.urandom(3 << 19).hex().encode()

    # Each side waiting for the other would last until the time is over.
    result = node.run(["tee", "/dev/stderr"], stdin=data, timeout=60)

    assert result.status == 0
    assert hashlib.sha256(result.stdout.encode()).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(result.stderr.encode()).digest() == hashlib.sha256(data).digest()


def test_input_is_sent_as_fast_as_it_is_taken(node: NodeHook, tmp_path: Path) -> None:
    """Held against the same bytes by SFTP: waiting between the pieces would take many times as long."""
    data = os.urandom(8 << 20)
    file = tmp_path / "data"
    file.write_bytes(data)

    def seconds(act: Callable[[], object]) -> float:
        began = time.monotonic()
        act()
        return time.monotonic() - began

    compared = seconds(lambda: node.upload(file, str(tmp_path / "brought")))
    out: list[str] = []
    took = seconds(lambda: out.append(node.must_run(["sha256sum"], stdin=data, timeout=30)))

    assert out[0].split()[0] == hashlib.sha256(data).hexdigest()
    assert took < 5 * compared + 2


def test_a_command_that_does_not_read_its_input_still_tells_its_status(node: NodeHook) -> None:
    result = node.run(["sh", "-c", "echo no >&2; exit 5"], stdin=b"x" * (8 << 20))

    assert (result.status, result.stderr) == (5, "no\n")


def test_waiting_for_a_command_costs_no_processor(node: NodeHook) -> None:
    before = time.process_time()

    node.run(["sh", "-c", "sleep 1; cat > /dev/null"], stdin=b"x" * (4 << 20))

    assert time.process_time() - before < 0.7


def test_a_command_that_takes_too_long_is_unreachable_and_may_still_run(node: NodeHook, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()

    with pytest.raises(UnreachableError, match=r"node node1 .* no end within the time allowed"):
        node.run(["sh", "-c", 'echo $$ > "$0"; exec sleep 30', str(pid_file)], timeout=1)

    assert time.monotonic() - began < 5
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the command that was left running to end")


def test_one_connection_serves_many_commands(node: NodeHook) -> None:
    with node.connected() as connected:
        clients = {connected.must_run(["sh", "-c", "echo $SSH_CLIENT"]) for _ in range(3)}
    assert len(clients) == 1

    assert node.must_run(["sh", "-c", "echo $SSH_CLIENT"]) not in clients


def test_a_lost_connection_is_unreachable_and_the_next_command_connects_again(node: NodeHook) -> None:
    began = time.monotonic()

    with pytest.raises(UnreachableError, match="the connection broke before the command ended"):
        node.run(["sh", "-c", KILL_OWN_CONNECTION])

    assert time.monotonic() - began < 5, "it is seen at once, not when the time is over"
    assert node.must_run(["echo", "again"]) == "again\n"


def test_what_had_to_succeed_says_what_it_ran_where_and_what_came(node: NodeHook) -> None:
    with pytest.raises(VerifyError) as caught:
        node.must_run(["sh", "-c", "echo no such thing >&2; exit 4"])

    assert caught.value.found == "`sh -c 'echo no such thing >&2; exit 4'` on node1 ended with 4: no such thing"
    assert "clear this task" in caught.value.next_step


def test_a_program_that_is_not_there_is_an_error_with_its_words(node: NodeHook) -> None:
    with pytest.raises(VerifyError, match=r"ended with 127: .*not found"):
        node.must_run(["no-such-program"])


def test_another_host_key_is_refused(ssh_server: Sshd, set_connection: SetConnection, tmp_path: Path) -> None:
    set_connection("it_node1", ssh_server.connection(host_key=new_host_key(tmp_path)))

    with pytest.raises(UnreachableError, match=r"[Hh]ost key"):
        NodeHook.from_connection(NODE).run(["true"])


def test_a_host_that_nobody_knows_is_refused(ssh_server: Sshd, set_connection: SetConnection) -> None:
    set_connection("it_node1", ssh_server.connection(host_key=None))

    with pytest.raises(UnreachableError, match="not found in known_hosts"):
        NodeHook.from_connection(NODE).run(["true"])


@pytest.mark.parametrize("extra", [{"no_host_key_check": True}, {"allow_host_key_change": True}])
def test_a_connection_that_does_not_check_is_refused_before_anything_is_sent(
    ssh_server: Sshd, set_connection: SetConnection, extra: dict[str, object]
) -> None:
    set_connection("it_node1", ssh_server.connection(host_key=None, **extra))

    with pytest.raises(PrecheckError, match="connection it_node1 of node1 does not check the host key"):
        NodeHook.from_connection(NODE)


def test_another_login_key_is_unreachable(ssh_server: Sshd, set_connection: SetConnection, tmp_path: Path) -> None:
    new_host_key(tmp_path)
    set_connection("it_node1", ssh_server.connection(key_file=str(tmp_path / "other_key")))

    with pytest.raises(UnreachableError, match=r"[Aa]uthentication"):
        NodeHook.from_connection(NODE).run(["true"])


def test_a_node_that_is_off_is_unreachable(ssh_server: Sshd, set_connection: SetConnection) -> None:
    set_connection("it_node1", {**ssh_server.connection(), "port": free_port()})
    node = NodeHook.from_connection(NODE)

    with pytest.raises(UnreachableError, match=r"node node1 \(127\.0\.0\.1\) cannot be asked over SSH"):
        node.run(["true"])
    with pytest.raises(UnreachableError):
        node.upload(Path(__file__), "/nonexistent")


def test_a_file_arrives_whole(node: NodeHook, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote it's"
    local.write_bytes(os.urandom(5 << 20))

    node.upload(local, str(remote))

    assert remote.read_bytes() == local.read_bytes()


def test_a_place_that_cannot_be_written_is_an_error(node: NodeHook, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"x")

    with pytest.raises(UnreachableError, match="bringing local"):
        node.upload(local, str(tmp_path / "missing" / "remote"))


def test_a_file_is_written_with_owner_and_mode_and_leaves_no_other(node: NodeHook, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "it's $HOME.conf"
    path.write_bytes(b"before")

    node.write(str(path), b"after \xff\n", owner="root", group="root", mode="0640")

    assert node.must_run(["stat", "-c", "%U:%G %a", str(path)], sudo="root").strip() == "root:root 640"
    assert node.must_run(["base64", str(path)], sudo="root").strip() == "YWZ0ZXIg/wo="
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    # An ordinary user could not remove the folder with root's file in it otherwise.
    node.must_run(["rm", str(path)], sudo="root")


def test_established_connections_are_counted(node: NodeHook, ssh_server: Sshd) -> None:
    assert node.established(free_port()) == 0
    address = ("127.0.0.1", ssh_server.port)
    with node.connected():
        before = node.established(ssh_server.port)
        with socket.create_connection(address), socket.create_connection(address):
            assert node.established(ssh_server.port) == before + 2
