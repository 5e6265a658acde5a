"""Airflow connections by the ids that a fleet file names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rolling_upgrade.errors import PrecheckError


@contextmanager
def usable(connection: str) -> Iterator[None]:
    """Turn whatever is wrong with a connection into an error that names it. Raises PrecheckError."""
    try:
        yield
    except PrecheckError:
        raise
    except Exception as error:
        # Airflow, the providers and the key parsers each raise their own; none of them says which connection, or more.
        raise PrecheckError(
            f"connection {connection} cannot be used: {error or type(error).__name__}.",
            expected="an Airflow connection of that id with all its fields right.",
            safe="nothing was asked or changed through it.",
            next_step="make or correct the connection in Airflow, then clear this task.",
        ) from error
