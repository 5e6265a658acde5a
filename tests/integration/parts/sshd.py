"""A real sshd on loopback for whoever runs the tests: own host key, own login key, own PATH for commands."""

from __future__ import annotations

import getpass
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.parts.processes import free_port, listens, program, running

PACKAGE = "openssh-server"
PRIVILEGE_SEPARATION = Path("/run/sshd")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
"""One for each node of a fleet; all of them are this machine."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A HOME of its own: what the user's start-up files do is neither tested nor waited for.
CONFIGURATION = """\
{addresses}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/login_key.pub
PidFile none
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 50
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
SetEnv PATH={folder}/bin:{path} HOME={folder}
"""
# No systemd answers where these tests run. What systemd itself says is exercised on the lab. Here one unit has the
# state that the test gave it, what would change a unit is written down, and each node has its own list of other units.
SYSTEMCTL = """\
#!/bin/sh
folder=$(dirname "$0")/..
case "$1 $*" in
"show "*" LoadState --value "*) cat "$folder/load_state" ;;
"show "*) cat "$folder/unit" ;;
"list-units "*)
    for word in "$@"; do
        case $word in --state=*) states=,${word#--state=}, ;; [!-]*) pattern=$word ;; esac
    done
    while read -r name load active sub; do
        case $name in $pattern) ;; *) continue ;; esac
        case $states in *,$active,*|*,$sub,*) echo "$name $load $active $sub a unit" ;; esac
    done < "$folder/units-$(echo "$SSH_CONNECTION" | cut -d" " -f3)"
    ;;
*)
    while [ -e "$folder/gate" ] && [ "$1" = "$(cat "$folder/gate")" ]; do touch "$folder/waiting"; sleep 0.02; done
    echo "${0##*/} $*" >> "$folder/journal"
    state=inactive
    [ ! -e "$folder/stubborn" ] || state=deactivating
    [ "$1" != kill ] || state=failed
    case $1 in stop|kill) printf "ActiveState=$state\\nSubState=$state\\nNRestarts=0\\n" > "$folder/unit" ;; esac
    ;;
esac
"""
# The real sudo sets a PATH of its own, on which the stand-in above is not.
SUDO = """\
#!/bin/sh
[ "$1 $2 $4" = "-n -u --" ] || { echo "not called as the hook calls it: $*" >&2; exit 64; }
user=$3
shift 4
%s -n true || { echo "these tests need sudo without a password, as a node's SSH user does" >&2; exit 1; }
exec %s -n -u "$user" -- env PATH="$PATH" SSH_CONNECTION="$SSH_CONNECTION" "$@"
"""


class Sshd:
    """One server, on an address for each node. ``unit`` holds what ``systemctl show`` prints to its commands."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.login = getpass.getuser()
        self.key_file = folder / "login_key"
        self.unit = folder / "unit"
        self.host_key = _make_key(folder / "host_key")
        _make_key(self.key_file)
        self.begin()
        for name in ("systemctl", "systemd-run"):
            _script(folder / "bin" / name, SYSTEMCTL)
        _script(folder / "bin" / "sudo", SUDO.replace("%s", program("sudo", "sudo")))
        addresses = "\n".join(f"ListenAddress {address}:{self.port}" for address in ADDRESSES)
        pam = "yes" if _account_is_locked() else "no"
        (folder / "sshd_config").write_text(
            CONFIGURATION.format(addresses=addresses, folder=folder, path=PATH, pam=pam)
        )

    def begin(self) -> None:
        """As a test finds it: the service's unit runs, no other does, and nothing was told to systemd."""
        self.says("active", "running", 0)
        self.loaded("loaded")
        (self.folder / "journal").write_text("")
        (self.folder / "stubborn").unlink(missing_ok=True)
        for address in ADDRESSES:
            self.units(address)

    def says(self, active: str, sub: str, restarts: int) -> None:
        """What systemd will say about the unit."""
        self.unit.write_text(f"ActiveState={active}\nSubState={sub}\nNRestarts={restarts}\n")

    def loaded(self, state: str) -> None:
        """What systemd will say about the unit's file."""
        (self.folder / "load_state").write_text(f"{state}\n")

    def units(self, address: str, *lines: str) -> None:
        """The other units of the node at that address: each line holds name, LOAD, ACTIVE and SUB."""
        (self.folder / f"units-{address}").write_text("".join(f"{line}\n" for line in lines))

    def stubborn(self) -> None:
        """From now on the unit does not end when it is told to stop, but only when it is killed."""
        (self.folder / "stubborn").touch()

    @property
    def told(self) -> list[str]:
        """What systemd was told to change, in order."""
        return (self.folder / "journal").read_text().splitlines()

    @contextmanager
    def held(self, verb: str) -> Iterator[Callable[[], bool]]:
        """Hold that command of systemctl before it has any effect; gives whether it is held now."""
        gate, waiting = self.folder / "gate", self.folder / "waiting"
        waiting.unlink(missing_ok=True)
        gate.write_text(verb)
        try:
            yield waiting.exists
        finally:
            gate.unlink()

    def connection(self, address: str = ADDRESSES[0], /, **extra: object) -> dict[str, object]:
        """An Airflow connection to it; ``extra`` replaces single entries of its extra, None removes one."""
        known: dict[str, object] = {
            "key_file": str(self.key_file),
            "host_key": self.host_key,
            "no_host_key_check": False,
            "look_for_keys": False,
        }
        return {
            "conn_type": "ssh",
            "host": address,
            "port": self.port,
            "login": self.login,
            "extra": {key: value for key, value in (known | extra).items() if value is not None},
        }


def new_host_key(folder: Path) -> str:
    """A host key that no server has."""
    return _make_key(folder / "other_key")


def _make_key(path: Path) -> str:
    subprocess.run(
        [program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
        check=True,
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _account_is_locked() -> bool:
    # Without PAM sshd refuses a locked account even with a key, and root is locked on many machines.
    if os.geteuid() != 0:
        return False
    shadow = Path("/etc/shadow").read_text(errors="replace").splitlines()
    return any(line.startswith(f"{getpass.getuser()}:!") for line in shadow)


@contextmanager
def _privilege_separation() -> Iterator[None]:
    """As root sshd wants this empty folder, which its service would make. It stays: another sshd may need it now."""
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    yield


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """A server for as long as the block lasts."""
    daemon = program("sshd", PACKAGE)
    server = Sshd(folder)
    command = [daemon, "-D", "-e", "-f", str(folder / "sshd_config")]
    with _privilege_separation(), running(command, folder / "sshd.log") as started:
        started.until(lambda: listens(server.port), "sshd")
        yield server
