"""Configuration files of the lab's own services."""

from __future__ import annotations

from pathlib import Path

import jinja2


def render(name: str, **values: object) -> str:
    """The template ``<name>.j2`` of this folder. Raises jinja2.UndefinedError for a value that is not given."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - not HTML
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(**values)
