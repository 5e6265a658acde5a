"""glance-manage of a later release, as it was in Ocata: its own code, with no migration of a later release.

A release's own Python runs this. VERSIONS is a folder with the schema's revisions up to Ocata.

Usage: python ocata_manage.py VERSIONS WORD...
"""

from __future__ import annotations

import sys
from typing import Any

from glance.db import migration  # type: ignore[import-not-found]

# Before what reads it on import.
migration.CURRENT_RELEASE = "ocata"

from glance.cmd import manage  # type: ignore[import-not-found]  # noqa: E402
from glance.db.sqlalchemy import alembic_migrations  # type: ignore[import-not-found]  # noqa: E402


def main(versions: str, words: list[str]) -> None:
    plain = alembic_migrations.get_alembic_config

    def at_ocata(engine: Any = None) -> Any:
        config = plain(engine)
        config.set_main_option("version_locations", versions)
        return config

    alembic_migrations.get_alembic_config = at_ocata
    sys.argv = ["glance-manage", *words]
    sys.exit(manage.main())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
