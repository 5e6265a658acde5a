"""Airflow connections by the ids that a fleet file names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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


def http_address(connection: Any) -> str:
    """``host`` with schema (default http) and port, and the extra ``path`` or ``endpoint``; or a whole URL as host.

    Raises ValueError when that is no HTTP URL.
    """
    host = str(connection.host or "")
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if connection.port and urlsplit(url).port is None:
        parts = urlsplit(url)
        url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    extra = connection.extra_dejson
    if path := str(extra.get("path") or extra.get("endpoint") or ""):
        url = f"{url.rstrip('/')}/{path.lstrip('/')}"
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError("its host and schema make no HTTP URL")
    return url
