"""Schemes of bits-back coding, by the names that files carry.

=========================  =======================================================================
bb-ans, bit-swap           Markov models: `bbans.bitsback.CHAINS`
mcbits-K, mcbits-coupled-K Markov models of one layer, K particles: `bbans.montecarlo.PARTICLES`
top-down                   top-down models: `bbans.bitsback.top_down`
=========================  =======================================================================

An entry of one of the two tables is all that a new scheme takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bbans.bitsback import CHAINS, Chain, Conditional
from bbans.codecs import Codec
from bbans.errors import ModelError
from bbans.montecarlo import PARTICLES

Conditionals = Sequence[Conditional[Any, Any]]
TOP_DOWN = "top-down"


@dataclass(frozen=True)
class Scheme:
    """A scheme for models whose latents are a chain.

    Args:
        combine: (p(z_L), likelihoods, posteriors) -> the codec of x, as `bbans.bitsback.markov`.
        particles: how many draws of all latents it makes.
    """

    name: str
    combine: Chain
    particles: int = 1


def chain_scheme(name: str | None, layers: int) -> Scheme:
    """The scheme of that name for a chain of so many layers of latents; None for their own.

    Raises: ModelError when there is none, or it does not go with such a chain.
    """
    name = name or chain_schemes(layers)[0]
    if name in CHAINS:
        return Scheme(name, CHAINS[name])
    kind, count = _with_particles(name)
    if not count:
        raise ModelError(f"there is no scheme '{name}' for Markov models")
    if layers > 1:
        raise ModelError(f"the scheme '{name}' is for models with one layer of latents, and this one has {layers}")

    def combine(prior: Codec[Any], likelihoods: Conditionals, posteriors: Conditionals) -> Codec[Any]:
        return PARTICLES[kind](prior, likelihoods[0], posteriors[0], count)

    return Scheme(name, combine, count)


def chain_schemes(layers: int, particles: Iterable[int] = ()) -> list[str]:
    """Names of the schemes for a chain of so many layers that differ, its own first; those with particles with so many each."""
    if layers > 1:
        return sorted(CHAINS, key=lambda name: name != "bit-swap")
    return ["bb-ans", *(f"{kind}-{count}" for kind in PARTICLES for count in particles)]


def check_top_down(name: str | None) -> None:
    """Raises: ModelError for the name of a scheme that is not for top-down models."""
    if name not in (None, TOP_DOWN):
        raise ModelError(f"the scheme '{name}' is not for top-down models: theirs is '{TOP_DOWN}'")


def particles_of(name: str | None) -> int:
    """How many draws of all latents a scheme makes."""
    return _with_particles(name or "")[1] or 1


def _with_particles(name: str) -> tuple[str, int]:
    """The kind of a scheme with particles, and how many; 0 for the name of another."""
    parts = re.fullmatch(r"(.+)-([1-9][0-9]{0,3})", name)
    return (parts[1], int(parts[2])) if parts and parts[1] in PARTICLES else (name, 0)
