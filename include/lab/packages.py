"""Debian packages that the lab needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from include.lab import doctor
from include.lab.commands import run
from include.lab.errors import CANNOT_RUN, LabError
from include.lab.progress import say, step

_SERVICES = {"haproxy": "haproxy.service", "openssh-server": "ssh.service"}


def refuse_unfit() -> None:
    """Raises LabError where packages alone would not help."""
    lacking = [lack for lack in doctor.examine() if not lack.installable]
    if lacking:
        raise LabError(doctor.explain(lacking), safe="nothing was changed.", exit_code=CANNOT_RUN)


def install(*, tests: bool = False) -> None:
    """Install what is missing. A service that comes with it neither runs nor starts at boot. Raises LabError."""
    refuse_unfit()
    packages = doctor.missing_packages(tests=tests)
    if not packages:
        say("every package is there")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("package lists are up to date"):
        run(["apt-get", "-q", "update"], environment=environment, seconds=600)
    # Only a service that comes now: one that the machine had before is its owner's.
    services = [_SERVICES[package] for package in packages if package in _SERVICES]
    with step(f"installed {' '.join(packages)}"), _masked(services):
        run(
            ["apt-get", "-q", "install", "--yes", "--no-install-recommends", *packages],
            environment=environment,
            seconds=1800,
        )
    for service in services:
        _quiet(service)


@contextmanager
def _masked(services: Sequence[str]) -> Iterator[None]:
    """Keep the services from being started while their packages are installed; at the latest until the next boot."""
    if not services or not Path("/run/systemd/system").is_dir():
        yield
        return
    run(["systemctl", "mask", "--runtime", *services])
    try:
        yield
    finally:
        run(["systemctl", "unmask", "--runtime", *services])


def _quiet(service: str) -> None:
    """Stop the service and keep it from starting at boot."""
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "disable", "--now", service])
        return
    if shutil.which("systemctl"):
        run(["systemctl", "disable", service], check=False)
    script = Path("/etc/init.d") / service.removesuffix(".service")
    if script.exists():
        subprocess.run([script, "stop"], capture_output=True, check=False)
