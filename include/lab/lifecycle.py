"""Bringing the lab up, back to a release, and down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from include.lab import access, balancers, cgroups, database, network, nodes, record, releases, root
from include.lab.errors import LabError
from include.lab.faults import control as faults
from include.lab.progress import say, step
from include.lab.settings import (
    BALANCERS,
    DATABASE_NAME,
    DATABASE_PORT,
    DATABASE_SERVICE_USER,
    DEFAULT_RELEASE,
    GLANCE_UID,
    HOST_ADDRESS,
    MAX_NODES,
    RUNTIME,
    LabSettings,
    Node,
)
from include.lab.waiting import until
from rolling_upgrade.fleet import inventory
from rolling_upgrade.services.configuration import ServiceLogin, render

SERVE_SECONDS = 90.0
RETURN_SECONDS = 15.0
_MANAGE = (
    "/opt/glance/current/bin/glance-manage",
    "--config-file",
    "/opt/glance/current/etc/glance/glance-api.conf",
)


def own_groups(settings: LabSettings) -> list[str]:
    """The groups of machines and services; others hold what a person started with ``exec``."""
    every_node = replace(settings, node_count=MAX_NODES).nodes
    return [
        *(node.machine for node in every_node),
        *(balancer.name for balancer in BALANCERS),
        database.GROUP,
        root.BUILD_GROUP,
    ]


def is_up(settings: LabSettings) -> bool:
    """True if anything of the lab's machines or services lives."""
    return any(cgroups.alive(group) for group in own_groups(settings) if group != root.BUILD_GROUP)


def build(settings: LabSettings, versions: tuple[str, ...]) -> None:
    """Make the root and the versions' archives where they are not there. Raises LabError."""
    for version in versions:
        releases.lock(version)  # an unknown one is refused before minutes of work
    cgroups.kill(root.BUILD_GROUP)  # a build whose command was killed still writes to where this one will
    with step("root file system is there"):
        root.ensure(settings)
    for version in versions:
        with step(f"release {version} is there"):
            releases.ensure(settings, version)
    cgroups.remove(root.BUILD_GROUP)


def up(settings: LabSettings, node_count: int | None, release: str | None) -> None:
    """Bring everything up, or, where the lab is up already, only what is missing. Raises LabError."""
    known = record.read(settings)
    if known is None and is_up(settings):
        raise LabError(
            f"a lab runs that {settings.state} knows nothing of.",
            expected="no lab, or one whose state lies there.",
            safe="it runs on, nothing was changed.",
            next_step="set GLANCE_LAB_STATE to where its state is, or `./lab down` first.",
        )
    if known is None or not known.ready or not is_up(settings):
        wanted = replace(settings, node_count=node_count or settings.node_count)
        fresh(wanted, release or DEFAULT_RELEASE)
        return
    if node_count not in (None, known.nodes):
        raise LabError(
            f"the lab is up with {known.nodes} nodes.",
            expected=f"no lab, or one with {node_count} nodes.",
            safe="it runs on, nothing was changed.",
            next_step=f"`./lab reset --nodes {node_count}` makes it new, or `./lab down` first.",
        )
    if release not in (None, known.release):
        say(f"the lab was brought up on {known.release} and is left as it is; `./lab reset --release {release}`")
    repair(replace(settings, node_count=known.nodes), known)


def repair(settings: LabSettings, known: record.Record) -> None:
    """Start what does not run, on the disks and data that are there; leave the rest alone. Raises LabError."""
    faults.refuse_while_injected(settings)
    build(settings, (known.release,))
    access.write(settings)
    network.ensure_bridge()
    database.start(settings)
    for balancer in BALANCERS:
        balancers.start(settings, balancer)
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(_boot_or_make, settings, node, known.release) for node in settings.nodes]:
            future.result()
    say("every machine, balancer and the database run")
    try:
        until(balancers.none_down, "nodes to be UP", seconds=RETURN_SECONDS)
    except LabError:  # it may be meant: a node that is being upgraded has stopped
        say("not every node in rotation is UP; `./lab status` shows which")


def _boot_or_make(settings: LabSettings, node: Node, release: str) -> None:
    missing = not nodes.has_disk(settings, node)
    if missing:
        _make_disk(settings, node, release)
    nodes.boot(settings, node)
    if missing:
        nodes.inside(node, "systemctl", "--quiet", "enable", "--now", nodes.UNIT)


def fresh(settings: LabSettings, release: str, staged: Sequence[str] = ()) -> None:
    """Everything new on ``release``: disks, database, images. Keys, passwords and backups stay. Raises LabError.

    Releases in ``staged`` lie beside it on every node.
    """
    faults.settle(settings)  # first: an archive that a fault is in would be built anew
    build(settings, (release, *staged))
    with step("nothing of an earlier lab is left"):
        _wipe(settings)
        releases.forget_outdated(settings)  # no disk stands on them any more
    record.write(settings, record.Record(settings.node_count, release, ready=False))
    access.write(settings)
    os.chown(settings.images, GLANCE_UID, GLANCE_UID)
    network.ensure_bridge()
    with step(f"machines, balancers and database run: {settings.node_count} nodes"), ThreadPoolExecutor() as pool:
        made_database = pool.submit(_new_database, settings)
        booted = [pool.submit(_new_node, settings, node, release, staged) for node in settings.nodes]
        started = [pool.submit(balancers.start, settings, balancer) for balancer in BALANCERS]
        synced = pool.submit(_make_schema, settings.nodes[0], made_database, booted[0])
        for future in (made_database, *booted, *started, synced):
            future.result()
    with step(f"release {release} serves on every node, in rotation on every balancer"), ThreadPoolExecutor() as pool:
        list(pool.map(_start_service, settings.nodes))
        until(lambda: balancers.all_up(settings), "every node to be UP on every balancer", seconds=SERVE_SECONDS)
    record.write(settings, record.Record(settings.node_count, release, ready=True))


def _wipe(settings: LabSettings) -> None:
    made = [settings.state / name for name in ("nodes", "database", "balancers", "images", "logs")]
    if any(path.exists() for path in made):
        say("removing the disks, database and images of an earlier lab; on a busy disk this takes a minute")
    for group in own_groups(settings):
        cgroups.kill(group)
        cgroups.remove(group)
    network.remove()
    record.remove(settings)
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


def _new_database(settings: LabSettings) -> None:
    database.create(settings)
    database.start(settings)
    database.make_users(settings)


def _new_node(settings: LabSettings, node: Node, release: str, staged: Sequence[str]) -> None:
    _make_disk(settings, node, release, staged)
    nodes.boot(settings, node)


def _make_disk(settings: LabSettings, node: Node, release: str, staged: Sequence[str] = ()) -> None:
    fleet = inventory.load(access.fleet_file(settings))
    login = ServiceLogin(
        login=DATABASE_SERVICE_USER,
        password=access.passwords(settings).service,
        host=HOST_ADDRESS,
        port=DATABASE_PORT,
        name=DATABASE_NAME,
    )
    nodes.make_disk(settings, node, release, render(fleet, fleet.node(node.name), release, login), staged)


def _make_schema(node: Node, database_made: Future[None], node_booted: Future[None]) -> None:
    database_made.result()
    node_booted.result()
    # As root it would leave a log that Glance itself cannot write afterwards.
    nodes.inside(node, *_MANAGE, "db", "sync", user="glance", seconds=180)


def _start_service(node: Node) -> None:
    nodes.inside(node, "systemctl", "--quiet", "enable", "--now", nodes.UNIT)


def down(settings: LabSettings) -> list[str]:
    """End every process of the lab and take away its networks and cgroups; returns what is left all the same.

    It goes by cgroup, link and mount, never by what an earlier command remembers, so it works after a crash of
    anything. What the lab wrote to disk stays until ``purge`` or the next ``up``.
    """
    cgroups.leave()
    cgroups.kill("")
    cgroups.remove("")
    network.remove()
    shutil.rmtree(RUNTIME, ignore_errors=True)
    for node in replace(settings, node_count=MAX_NODES).nodes:
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / node.machine, ignore_errors=True)
    faults.settle(settings)
    record.remove(settings)
    return [*cgroups.remains(), *network.remains(), *_mounts_below(settings)]


def _mounts_below(settings: LabSettings) -> list[str]:
    mounted = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [path for path in mounted if path.startswith((f"{settings.state}/", f"{settings.cache}/"))]


def purge(settings: LabSettings) -> list[str]:
    """``down``, and remove everything the lab wrote: state and cache. Returns what is left."""
    left = down(settings)
    if left:
        return left
    for directory in (settings.state, settings.cache):
        shutil.rmtree(directory, ignore_errors=True)
    return [str(directory) for directory in (settings.state, settings.cache) if directory.exists()]
