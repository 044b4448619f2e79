"""Sizes of models on the command line: `--size width=64 --size latents=20,20/2,2`."""

from __future__ import annotations

from typing import Any

import click

from bbans.models.registry import families

SIZES: dict[str, dict[str, Any]] = {name: family.sizes() for name, family in families().items()}
"""By family the sizes that a user can choose, and their defaults."""


def sizes_of(family: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the family's config that `name=1`, `name=1,2` or `name=1,2/3` sets. Raises: BadParameter."""
    chosen: dict[str, Any] = {}
    sizes = SIZES[family]
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            chosen[name] = parse(sizes[name], value)
        except (KeyError, ValueError):
            names = ", ".join(f"{name}={text(default)}" for name, default in sizes.items())
            raise click.BadParameter(
                f"{setting!r} is not NAME=NUMBER with a name and form of {names}", param_hint="--size"
            ) from None
    return chosen


def parse(default: Any, value: str) -> Any:
    """The number, or tuple of numbers or of tuples of them, in the form of the default. Inverse: text. Raises: ValueError."""
    if not isinstance(default, tuple):
        if not value.isdecimal():
            raise ValueError(value)
        return type(default)(int(value))
    if isinstance(default[0], tuple):
        return tuple(parse(default[0], part) for part in value.split("/"))
    return tuple(parse(default[0], part) for part in value.split(",") if part)


def text(value: Any) -> str:
    """Such as `64`, `256,64` or `20,20/2,2`. Inverse: parse."""
    if not isinstance(value, tuple):
        return str(int(value))
    return ("/" if isinstance(value[0], tuple) else ",").join(map(text, value))


DEFAULTS = ". ".join(
    f"{family}: {', '.join(f'{name} {text(default)}' for name, default in sizes.items())}" for family, sizes in SIZES.items()
)
"""For the help."""
