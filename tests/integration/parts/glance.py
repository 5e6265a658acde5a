"""A real glance-api that wants a token, from the archive of a release that the lab builds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from include.lab import releases
from include.lab.settings import LabSettings
from tests.integration.parts.keystone import PASSWORD, PROJECT, Keystone
from tests.integration.parts.processes import free_port, listens, running

RELEASE = "28.1.0"
CONFIGURATION = """\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = 1
enabled_backends = local:file
node_staging_uri = file://{folder}/staging
log_file =
use_stderr = true
[database]
connection = sqlite:///{folder}/glance.db
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = {folder}/images
[paste_deploy]
config_file = {tree}/etc/glance/glance-api-paste.ini
flavor = keystone
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = glance
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default
"""


@dataclass(frozen=True)
class Glance:
    """One glance-api on loopback. ``store`` is the folder that its images' bytes are in."""

    port: int
    store: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/images"


def unpacked(folder: Path, settings: LabSettings, release: str = RELEASE) -> Path:
    """The release's tree, below a folder. Fails the test, naming what makes the archive, when it is not there."""
    archive = releases.archive(settings, release)
    if not archive.is_file():
        pytest.fail(f"{archive} is not there: `./lab build {release}` makes it, as `make test` does.")
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder / release


@contextmanager
def glance(folder: Path, settings: LabSettings, keystone: Keystone) -> Iterator[Glance]:
    """A glance-api for as long as the block lasts.

    It takes tokens of that Keystone, and asks it about them as user glance, who needs the role service there.
    """
    tree = unpacked(folder, settings)
    made = Glance(free_port(), folder / "images")
    configuration = folder / "glance-api.conf"
    # oslo.config reads $ as the name of another value.
    password = PASSWORD.replace("$", "$$")
    configuration.write_text(
        CONFIGURATION.format(
            port=made.port, folder=folder, tree=tree, keystone=keystone.url, project=PROJECT, password=password
        )
    )
    options = ["--config-file", str(configuration)]
    manage = [str(tree / "bin" / "glance-manage"), *options, "db_sync"]
    done = subprocess.run(manage, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"glance-manage db_sync ended with {done.returncode}: {done.stderr[-2000:]}")
    with running([str(tree / "bin" / "glance-api"), *options], folder / "glance.log", dict(os.environ)) as program:
        program.until(lambda: listens(made.port), "glance-api", seconds=40)
        yield made
