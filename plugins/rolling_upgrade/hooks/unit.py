"""The service's unit on a node: stop it without a silent kill, keep it from starting by itself, start it."""

from __future__ import annotations

from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import ServiceProfile

# The drop-in names itself as the condition, so that its removal alone allows a start.
HOLD = """\
# Written by the rolling upgrade while this node is being upgraded, and removed by it when the service is started.
# Until then nothing starts the service, a boot neither; and a stop that takes too long kills nothing.
# To start it by hand all the same: rm {path} && systemctl daemon-reload && systemctl start {unit}
[Unit]
ConditionPathExists=!{path}

[Service]
SendSIGKILL=no
"""
# Renamed into place; systemd reads no file of another ending meanwhile.
WRITE_HOLD = """
cat >"$1.new.$$"
if cmp -s "$1.new.$$" "$1"; then rm "$1.new.$$"; exit 0; fi
chmod 644 "$1.new.$$"
mv -T "$1.new.$$" "$1"
systemctl daemon-reload
"""
REMOVE_HOLD = 'if test -e "$1"; then rm "$1"; systemctl daemon-reload; fi'


class ServiceUnit:
    """The unit of a service on one node. Every method raises UnreachableError, and VerifyError when it is refused."""

    def __init__(self, node: NodeHook, profile: ServiceProfile) -> None:
        self._node = node
        self._unit = profile.unit
        self._folder = f"{profile.units}/{profile.unit}.d"
        self._hold = f"{self._folder}/90-rolling-upgrade.conf"

    def hold(self) -> None:
        """Keep the unit from being started by anything but ``start``, over a power loss too. Repeats change nothing."""
        text = HOLD.format(path=self._hold, unit=self._unit)
        self._node.script(
            "keeping the unit from starting",
            f'mkdir -p "$2"\n{WRITE_HOLD}',
            self._hold,
            self._folder,
            stdin=text.encode(),
        )

    def let_go(self) -> None:
        """Allow starts again. Repeats change nothing."""
        self._node.script("letting the unit start", REMOVE_HOLD, self._hold)

    def begin_stop(self) -> None:
        """Ask systemd to stop the unit, and do not wait for its end."""
        self._node.must_run(["systemctl", "stop", "--no-block", self._unit], sudo="root")

    def kill(self) -> None:
        """SIGKILL to every process of the unit's cgroup."""
        self._node.must_run(["systemctl", "kill", "--signal=SIGKILL", self._unit], sudo="root")

    def forget_restarts(self) -> None:
        """Let systemd's count of restarts begin at 0, and a failed unit be no longer failed."""
        # Refused for a unit that systemd has not loaded; what comes after tells of all that matters.
        self._node.run(["systemctl", "reset-failed", self._unit], sudo="root")

    def start(self) -> None:
        """Let it go and start it."""
        self.let_go()
        self.forget_restarts()
        self._node.must_run(["systemctl", "start", self._unit], sudo="root")
