"""Observe a service on the machine this runs on, and print it as JSON.

The workflow sends this file over SSH to the node's own Python (3.7 or later, standard library only) and runs it as
root: nothing has to be installed on a node, and one round trip tells everything at one moment. It changes nothing.

Usage: python3 -I - UNIT PORT ROOT SERVICE
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time


def _run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def _unit(name: str) -> dict[str, str]:
    shown = _run("systemctl", "show", "-p", "ActiveState,SubState,NRestarts", name)
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _listeners(port: int) -> set[int]:
    shown = _run("ss", "-Hltnp", f"( sport = :{port} )")
    return {int(pid) for pid in re.findall(r"pid=(\d+)", shown)}


def _established(port: int) -> int:
    return len(_run("ss", "-Htn", "state", "established", f"( sport = :{port} )").splitlines())


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # the process has ended, or it is a kernel thread


def _started(stat: str, uptime: float) -> float:
    """When a process began, as ``time.time()`` counts, from its ``/proc/PID/stat``. It counts ticks since boot."""
    ticks = float(stat.rpartition(")")[2].split()[19])
    return time.time() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))


def _processes(unit: str, listeners: set[int], releases_dir: str, service: str) -> list[dict[str, object]]:
    pattern = re.compile(re.escape(releases_dir) + r"/([A-Za-z0-9_.-]+)/")
    in_unit_pattern = re.compile(rf"/{re.escape(unit)}(/|$)", re.M)
    uptime = float(_read("/proc/uptime").split()[0])
    found: list[dict[str, object]] = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        base = "/proc/" + entry
        words = _read(base + "/cmdline").split("\0")
        command = " ".join(words).strip()
        named = _is_program_of(service, words)
        # /proc/PID/exe is the system's Python for every release; only what is mapped and named tells them apart.
        releases = set(pattern.findall(command)) | set(pattern.findall(_read(base + "/maps")))
        in_unit = bool(in_unit_pattern.search(_read(base + "/cgroup")))
        listens = int(entry) in listeners
        stat = _read(base + "/stat")
        if not (releases or in_unit or listens or named) or not stat:
            continue
        found.append(
            {
                "pid": int(entry),
                "command": command,
                "releases": sorted(releases),
                "listens": listens,
                "in_unit": in_unit,
                "started": _started(stat, uptime),
            }
        )
    return found


def _is_program_of(service: str, words: list[str]) -> bool:
    """Whether a command line runs a program of the service, itself or through its interpreter.

    One from elsewhere, as a distribution's package brings it, is of no release that could be proven.
    """
    if re.match(r"(.*/)?(python[0-9.]*|sh|bash|dash)$", words[0]):
        words = [word for word in words[1:] if not word.startswith("-")]
    return bool(words) and bool(re.match(rf"(.*/)?{re.escape(service)}-[a-z][a-z-]*$", words[0]))


def main(unit: str, port: int, root: str, service: str) -> None:
    releases_dir = root + "/releases"
    shown = _unit(unit)
    current = os.path.join(root, "current")
    names = os.listdir(releases_dir) if os.path.isdir(releases_dir) else []
    complete = {name: os.path.join(releases_dir, name, ".complete") for name in sorted(names)}
    complete = {name: mark for name, mark in complete.items() if os.path.exists(mark)}
    print(
        json.dumps(
            {
                "active_state": shown.get("ActiveState", "unknown"),
                "sub_state": shown.get("SubState", "unknown"),
                "restarts": int(shown.get("NRestarts") or 0),
                "current": os.path.basename(os.readlink(current)) if os.path.islink(current) else None,
                "switched": os.lstat(current).st_mtime if os.path.islink(current) else None,
                "complete_releases": list(complete),
                "archives": {name: _read(mark).strip() for name, mark in complete.items()},
                "established": _established(port),
                "processes": _processes(unit, _listeners(port), releases_dir, service),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
