"""The settings of the Airflow that rehearses on this machine: SQLite, LocalExecutor, loopback only.

They are written to ``<home>/airflow.cfg`` (mode 0600: it holds the keys of this installation) at each start.
Keys and the login are made once per home and kept.
"""

from __future__ import annotations

import configparser
import io
import json
import os
import secrets
import shutil
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

USER = "admin"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class AirflowPlace:
    """Where one Airflow lives: its home, the project whose DAGs and plugins it runs, and its port."""

    home: Path
    project: Path
    port: int
    dags: Path
    fleets: Path

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def database(self) -> Path:
        return self.home / "airflow.db"

    @property
    def supervisor_record(self) -> Path:
        """Who supervises, and which components there are: pids and start times."""
        return self.home / "supervisor.json"

    @property
    def passwords(self) -> Path:
        return self.home / "passwords.json"


@dataclass(frozen=True)
class Keys:
    """The secrets of one installation."""

    fernet: str
    jwt: str
    session: str
    password: str


def load_or_make_keys(home: Path) -> Keys:
    """Read ``<home>/keys.json``, or make it (mode 0600)."""
    path = home / "keys.json"
    if path.exists():
        return Keys(**json.loads(path.read_text()))
    keys = Keys(
        fernet=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt=secrets.token_urlsafe(48),
        session=secrets.token_urlsafe(32),
        password=secrets.token_urlsafe(12),
    )
    write_private(path, json.dumps(keys.__dict__))
    return keys


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; nobody but its owner can read it at any time."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)


def options(place: AirflowPlace, keys: Keys) -> dict[str, dict[str, str]]:
    """What differs from Airflow's defaults, by section."""
    return {
        "core": {
            "executor": "LocalExecutor",
            # Idle workers are forked for all of it; the workflow runs two or three tasks at a time.
            "parallelism": "8",
            "dags_folder": str(place.dags),
            "plugins_folder": str(place.project / "plugins"),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "fernet_key": keys.fernet,
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(place.passwords),
            "execution_api_server_url": f"{place.url}/execution/",
            # The default asks DNS for the full name, which may be slow or absent where one rehearses.
            "hostname_callable": "socket.gethostname",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{place.database}"},
        "api": {
            "host": ADDRESS,
            "port": str(place.port),
            "base_url": place.url,
            "secret_key": keys.session,
            "workers": "1",
        },
        "api_auth": {"jwt_secret": keys.jwt},
        "scheduler": {
            # The default of 1 s is waited out between any two steps.
            "scheduler_idle_sleep_time": "0.1",
            # What a killed worker or scheduler leaves is noticed by its silence: by default after 300 s, and what a
            # scheduler left is looked for every 300 s. A rehearsal kills them on purpose and waits for it. A heart
            # beats every 5 s; a busy machine of two cores must be able to miss several beats and not be taken for dead.
            "task_instance_heartbeat_timeout": "30",
            "task_instance_heartbeat_timeout_detection_interval": "5",
            "scheduler_health_check_threshold": "20",
            "orphaned_tasks_check_interval": "10",
        },
        # So long the waits of a killed triggerer stand still before the next one takes them over; by default 30 s.
        "triggerer": {"triggerer_health_check_threshold": "15"},
        "dag_processor": {
            "refresh_interval": "5",
            "min_file_process_interval": "10",
            "parsing_processes": "1",
        },
        "logging": {
            "base_log_folder": str(place.logs),
            "dag_processor_child_process_log_directory": str(place.logs / "dag_processor"),
            "colored_console_log": "False",
        },
        "usage_data_collection": {"enabled": "False"},
    }


def render(place: AirflowPlace, keys: Keys) -> str:
    """The text of ``airflow.cfg``."""
    parser = configparser.ConfigParser(interpolation=None)
    # Airflow interpolates this file, so a percent sign of a path has to be doubled.
    parser.read_dict(
        {
            section: {name: value.replace("%", "%%") for name, value in values.items()}
            for section, values in options(place, keys).items()
        }
    )
    text = io.StringIO()
    text.write("# Written at each start by include/demo/airflow_settings.py.\n\n")
    parser.write(text)
    return text.getvalue()


def environment(place: AirflowPlace, inherited: dict[str, str]) -> dict[str, str]:
    """What Airflow's processes see: nothing of another Airflow's settings, no secret."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("AIRFLOW_", "PYTHON", "SUDO_")) and name != "VIRTUAL_ENV"
    }
    return kept | {
        "AIRFLOW_HOME": str(place.home),
        "PYTHONPATH": f"{place.project}:{place.project / 'plugins'}",
        "PYTHONUNBUFFERED": "1",
        "ROLLING_UPGRADE_FLEETS": str(place.fleets),
        # Process titles must not overwrite the environment: leftovers are recognised by AIRFLOW_HOME in it.
        "SPT_NOENV": "1",
    }


def write_home(place: AirflowPlace, inherited: dict[str, str], *, keep_logs: bool = False) -> Keys:
    """Write settings, login and environment into the home, all mode 0600 in a folder of mode 0700.

    Logs of earlier runs belong to nothing where the database starts empty; with ``keep_logs`` they stay.
    """
    place.home.mkdir(parents=True, exist_ok=True)
    place.home.chmod(0o700)
    if not keep_logs:
        shutil.rmtree(place.logs, ignore_errors=True)
    place.logs.mkdir(exist_ok=True)
    keys = load_or_make_keys(place.home)
    write_private(place.home / "airflow.cfg", render(place, keys))
    write_private(place.passwords, json.dumps({USER: keys.password}) + "\n")
    write_private(place.home / "environment.json", json.dumps(environment(place, inherited)))
    return keys
