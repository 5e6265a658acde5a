"""Run by Keystone's own Python: make a Keystone in a folder, and serve it on loopback until it is ended.

    serve.py FOLDER PORT

The folder holds ``keystone.conf``. The password of its administrator comes in ``OS_BOOTSTRAP_PASSWORD``, never as
a word of the command line.
"""

from __future__ import annotations

import grp
import os
import pwd
import sqlite3
import sys
from contextlib import closing
from wsgiref.simple_server import make_server

from keystone.cmd import manage  # type: ignore[import-not-found]
from keystone.server import wsgi  # type: ignore[import-not-found]


def prepare(configuration: str, port: int) -> None:
    """``keystone-manage`` as an operator runs it; each command in a process of its own, as its options are global."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    owner = ["--keystone-user", user, "--keystone-group", group]
    address = ["--bootstrap-internal-url", f"http://127.0.0.1:{port}/v3"]
    for command in (["db_sync"], ["fernet_setup", *owner], ["bootstrap", *address]):
        child = os.fork()
        if child == 0:
            sys.argv = ["keystone-manage", "--config-file", configuration, *command]
            manage.main()
            sys.stderr.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"keystone-manage {command[0]} failed")


def main(folder: str, port: int) -> None:
    configuration = f"{folder}/keystone.conf"
    prepare(configuration, port)
    # Keystone reads on one connection while it writes on another, which SQLite allows only with a log ahead of writes.
    with closing(sqlite3.connect(f"{folder}/keystone.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = configuration
    sys.argv = ["keystone-wsgi-public"]
    with make_server("127.0.0.1", port, wsgi.initialize_public_application()) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
