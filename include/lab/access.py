"""What it takes to get into the lab: keys, passwords, and the Airflow connections made of them.

They are made once and kept until ``purge``, also over a reset, so that connections imported before still fit.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from include.lab.privileges import give_to_user
from include.lab.settings import (
    BALANCERS,
    DATABASE_NAME,
    DATABASE_OPERATOR_USER,
    DATABASE_PORT,
    DATABASE_SERVICE_USER,
    HOST_ADDRESS,
    NODE_USER,
    PROJECT_ROOT,
    LabSettings,
    Node,
)

FLEET_TEMPLATE = PROJECT_ROOT / "include" / "fleets" / "lab.yaml"


@dataclass(frozen=True)
class Passwords:
    """Passwords of the database's users. Kept out of ``repr``."""

    service: str
    operator: str

    def __repr__(self) -> str:
        return "Passwords(…)"


def write_private(path: Path, text: str, *, to_user: bool = False) -> None:
    """Write a file that only its owner can read, complete or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    if to_user:
        give_to_user(new)
    new.rename(path)


def passwords(settings: LabSettings) -> Passwords:
    """The database's passwords, made when they are first asked for."""
    path = settings.state / "passwords.json"
    if not path.is_file():
        made = {"service": secrets.token_urlsafe(24), "operator": secrets.token_urlsafe(24)}
        write_private(path, json.dumps(made))
    return Passwords(**json.loads(path.read_text()))


def _key_pair(path: Path, comment: str) -> str:
    """The public half of a key pair, made if it is not there."""
    public = path.with_name(f"{path.name}.pub")
    if not (path.is_file() and public.is_file()):
        public.unlink(missing_ok=True)  # else an end half-way would leave two halves that do not belong together
        path.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        shown = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        write_private(path, private.decode())
        public.write_text(f"{shown.decode()} {comment}\n")
    return " ".join(public.read_text().split()[:2])


def client_key_file(settings: LabSettings) -> Path:
    return settings.access / "id_ed25519"


def client_key(settings: LabSettings) -> str:
    """The public key that the nodes let in."""
    return _key_pair(client_key_file(settings), NODE_USER)


def host_key_file(settings: LabSettings, node: Node) -> Path:
    return settings.state / "host-keys" / f"{node.name}_ed25519"


def host_key(settings: LabSettings, node: Node) -> str:
    """The node's public host key, as ``ssh-ed25519 AAAA…``."""
    return _key_pair(host_key_file(settings, node), node.name)


def connections(settings: LabSettings) -> dict[str, dict[str, Any]]:
    """Airflow connections of the lab, for ``airflow connections import``."""
    known = passwords(settings)
    found: dict[str, dict[str, Any]] = {}
    for node in settings.nodes:
        found[f"lab_{node.name}"] = {
            "conn_type": "ssh",
            "host": node.address,
            "login": NODE_USER,
            "port": 22,
            "extra": {
                "key_file": str(client_key_file(settings)),
                "host_key": host_key(settings, node),
                "no_host_key_check": False,
            },
        }
    for balancer in BALANCERS:
        found[f"lab_{balancer.name}"] = {
            "conn_type": "generic",
            "host": balancer.address,
            "port": balancer.admin_port,
        }
    for connection, login, password in (
        ("lab_database", DATABASE_OPERATOR_USER, known.operator),
        ("lab_glance_database", DATABASE_SERVICE_USER, known.service),
    ):
        found[connection] = {
            "conn_type": "mysql",
            "host": HOST_ADDRESS,
            "login": login,
            "password": password,
            "port": DATABASE_PORT,
            "schema": DATABASE_NAME,
        }
    return found


def fleet(settings: LabSettings) -> dict[str, Any]:
    """The workflow's inventory of this lab: the shipped one with this lab's nodes and paths."""
    described: dict[str, Any] = yaml.safe_load(FLEET_TEMPLATE.read_text(encoding="utf-8"))
    described["nodes"] = [
        {"name": node.name, "address": node.address, "ssh_connection": f"lab_{node.name}"} for node in settings.nodes
    ]
    described["releases"]["archives"] = str(settings.archives)
    described["backup"]["directory"] = str(settings.backups)
    return described


def fleet_file(settings: LabSettings) -> Path:
    return settings.state / "fleets" / "lab.yaml"


def write(settings: LabSettings) -> None:
    """Write everything that the workflow and its user need: keys, connections, known hosts, fleet file, directories."""
    for directory in (settings.state, settings.images, fleet_file(settings).parent):
        directory.mkdir(parents=True, exist_ok=True)
    for directory, mode in ((settings.access, 0o700), (settings.backups, 0o700), (settings.load, 0o755)):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
        give_to_user(directory)
    client_key(settings)
    for path in (client_key_file(settings), settings.access / "id_ed25519.pub"):
        give_to_user(path)
    hosts = "".join(f"{node.address} {host_key(settings, node)}\n" for node in settings.nodes)
    write_private(settings.access / "known_hosts", hosts, to_user=True)
    write_private(
        settings.access / "connections.json", json.dumps(connections(settings), indent=2) + "\n", to_user=True
    )
    text = yaml.safe_dump(fleet(settings), sort_keys=False, allow_unicode=True)
    fleet_file(settings).write_text(f"# The lab as it was brought up. Written by ./lab; a change here is lost.\n{text}")
