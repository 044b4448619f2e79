"""Heads tuned to one picture: what changes of their last layer make it shorter, with the bits of the changes in the price.

The layer's inputs are fixed for a picture, so a step of gradient descent is a small product of matrices on a sample of its
positions. The loss is the length of the pixels under the mixtures, without the adaptive stage; its gradient is written out here, as
nothing but numpy is at hand. Changes are whole steps of `bbans.models.photo.changes`: the loss sees them rounded, the gradient goes
to what was rounded, and each step away from 0 has a price in bits.

Floats decide here what the encoder sends, and nothing else: the same picture may become other bytes on another machine, but any
machine decodes them.

Source: Adam, Kingma and Ba, 2015; straight-through gradients, Bengio, Leonard and Courville, 2013.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbans.ans import Message
from bbans.exact.network import WEIGHT_MAX, IntConv
from bbans.models.grids import COLOURS
from bbans.models.photo.changes import BIAS_STEP, LEVELS, REACH, WEIGHT_STEP, Changes
from bbans.models.photo.geometry import Bytes
from bbans.models.photo.level import Level
from bbans.tables import IntArray

Floats = NDArray[np.float32]

POSITIONS = 1 << 17
"""Of a phase, the most that are looked at."""

LEAST_POSITIONS = 1 << 15
"""Where a level has fewer, changes cost more than they save."""

STEP_UNITS = 300
"""A step of gradient descent takes about as long as coding so many pixels."""

_PIECE = 64  # positions multiplied at once: so few that BLAS takes one thread, as several would mostly wait for each other
_MOMENTS = 0.9, 0.99


LOGITS, MEANS, LOG_SCALES, SLOPES = range(4)


@dataclass(frozen=True)
class Plan:
    """How long to tune, and what.

    Attributes:
        levels: so many, the finest first.
        steps: of gradient descent, for each phase.
        kinds: of outputs that change; each choice is a candidate. Means first: other kinds mostly save what the adaptive stage
            saves too, and cost more than they bring.
        rate: of Adam, in steps of the changes, falling to 0 over the last 70 % of the steps.
        batch: positions that a step looks at.
        price_bits: of each step of a change.
    """

    levels: int
    steps: int
    kinds: tuple[tuple[int, ...], ...] = ((MEANS,),)
    rate: float = 0.3
    batch: int = 1024
    price_bits: float = 8.0


PLANS = {
    7: Plan(1, 500),
    8: Plan(1, 1500, rate=0.1),
    9: Plan(LEVELS, 1500, ((MEANS,), (MEANS, SLOPES), (MEANS, LOG_SCALES)), rate=0.1),
}
"""By effort; smaller ones do not tune."""


def plan_of(effort: int, index: int, height: int, width: int) -> Plan | None:
    """The plan for a level with a grid of that size; None if the effort or the level is too small."""
    plan = PLANS.get(effort)
    return None if plan is None or index >= plan.levels or height * width < LEAST_POSITIONS else plan


def units(effort: int, index: int, height: int, width: int) -> int:
    """How long `tune` takes, in the time of coding a pixel."""
    plan = plan_of(effort, index, height, width)
    return 0 if plan is None else len(plan.kinds) * 3 * plan.steps * STEP_UNITS


def trials(effort: int) -> int:
    """How often a level is pushed beside the one time that counts: as it is, and with each candidate."""
    return 1 + len(PLANS[effort].kinds)


@dataclass(frozen=True)
class Trial:
    """A level pushed with some changes.

    Attributes:
        messages: of its strips.
        bits: what a meter has counted by then.
        flag: whether its latents are coded, in its bit of the flags.
        likelihoods, costs: by phase, the bits of its pixels and of its changes.
    """

    changes: Changes
    messages: list[Message]
    bits: Counter[str]
    flag: int
    likelihoods: Sequence[int]
    costs: Sequence[int]

    def has(self, changes: Changes) -> bool:
        """Whether it was pushed with these changes, themselves."""
        return self.changes.keys() == changes.keys() and all(self.changes[phase] is own for phase, own in changes.items())


def by_phase(changes: Changes) -> list[Changes]:
    """The changes of each phase, alone."""
    return [{phase: changes[phase]} if phase in changes else {} for phase in range(3)]


def best_of_phases(trials: Sequence[Trial]) -> Changes:
    """For each phase, the changes that make its pixels and themselves the shortest."""
    best: dict[int, IntArray] = {}
    for phase in range(3):
        sizes = [one.likelihoods[phase] + one.costs[phase] for one in trials]
        best |= by_phase(trials[sizes.index(min(sizes))].changes)[phase]
    return best


def tune(level: Level, colours: int, effort: int, tell: Callable[[int], None] = lambda units: None) -> list[Changes]:
    """Candidates for changes of the heads of a level that make it shorter; none if the effort or the level is too small.

    Args:
        tell: called with the units that are done since its last call, all of which are those of `units`.
    """
    plan = plan_of(effort, level.index, level.grid.height, level.grid.width)
    if plan is None:
        return []
    candidates: list[dict[int, IntArray]] = [{} for _ in plan.kinds]
    z = level.posterior.mode() if level.has_latents else None  # x11 and x01 will have others, that are about as good
    for phase in range(3):
        if 0 in level.size(phase):
            tell(len(plan.kinds) * plan.steps * STEP_UNITS)
            continue
        sample = _sample(level, phase, z)
        for kinds, candidate in zip(plan.kinds, candidates, strict=True):
            changes = _tune_phase(level.network.outs[phase], sample, kinds, colours, plan, tell)
            if changes.any():
                candidate[phase] = changes
    return [*candidates]


@dataclass(frozen=True)
class _Sample:
    """Positions of a phase. Shapes: inputs of the head's last layer (n, C); pixels and centres (n, 3), in coding order.

    count: how many positions the phase has.
    """

    inputs: Bytes
    pixels: Floats
    centres: Floats
    count: int


def _sample(level: Level, phase: int, z: Bytes | None) -> _Sample:
    inside = level.inside(phase, slice(0, level.grid.height))
    inputs = level.network.hidden(phase, level.grid, level.features(phase), z)[inside].reshape(-1, level.network.config.head)
    pixels, references = (
        array[inside].reshape(-1, 3)[:, list(COLOURS)] for array in (level.phases[phase], level.references(phase))
    )
    count = len(inputs)
    if count > POSITIONS:
        places = np.random.default_rng(phase).choice(count, POSITIONS, replace=False)
        inputs, pixels, references = inputs[places], pixels[places], references[places]
    return _Sample(inputs, pixels.astype(np.float32), references.astype(np.float32) * np.float32(0.25), count)


def _tune_phase(
    layer: IntConv, sample: _Sample, kinds: Sequence[int], colours: int, plan: Plan, tell: Callable[[int], None]
) -> IntArray:
    units: Floats = np.ldexp(np.float32(1), -layer.exponent.astype(np.int32))[:, None]
    weight = layer.weight[:, :, 0, 0].astype(np.float32)
    # The bias is the weight of one more input, a constant.
    constant = BIAS_STEP // WEIGHT_STEP
    start: Floats = np.concatenate([weight, layer.bias[0, :, None].astype(np.float32) / np.float32(constant)], 1) * units
    inputs = np.concatenate([sample.inputs, np.full((len(sample.inputs), 1), constant, np.uint8)], 1)
    tuned = np.isin(np.arange(layer.weight.shape[0]) * 4 // layer.weight.shape[0], kinds)
    steps = WEIGHT_STEP * units
    low, high = _limits(layer)
    price = np.float32(plan.price_bits / sample.count)
    changes: Floats = np.zeros_like(start)
    first, second = np.zeros_like(start), np.zeros_like(start)
    rng = np.random.default_rng(0)
    for step in range(plan.steps):
        batch = rng.integers(0, len(inputs), plan.batch)
        x = inputs[batch].astype(np.float32)
        pieces = x.reshape(-1, _PIECE, x.shape[1])
        outputs = (pieces @ (start + steps * np.rint(changes)).T).reshape(len(x), -1)
        slopes = gradient(outputs, sample.centres[batch], sample.pixels[batch], colours) * tuned
        by_piece = slopes.reshape(-1, _PIECE, slopes.shape[1]).swapaxes(1, 2) @ pieces
        slope = by_piece.sum(0) * (steps / plan.batch) + price * np.sign(changes)
        first += (1 - _MOMENTS[0]) * (slope - first)
        second += (1 - _MOMENTS[1]) * (slope * slope - second)
        mean, square = first / (1 - _MOMENTS[0] ** (step + 1)), second / (1 - _MOMENTS[1] ** (step + 1))
        rate = plan.rate * min(1.0, (plan.steps - step) / (0.7 * plan.steps))
        changes -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-12))
        np.clip(changes, low, high, out=changes)
        tell(STEP_UNITS)
    return np.rint(changes).astype(np.int64)


def _limits(layer: IntConv) -> tuple[Floats, Floats]:
    """The least and the largest changes that keep weights in range."""
    weight = layer.weight[:, :, 0, 0].astype(np.int64)
    room = [np.minimum((WEIGHT_MAX - sign * weight) // WEIGHT_STEP, REACH) for sign in (-1, 1)]
    low, high = (np.pad(side, ((0, 0), (0, 1)), constant_values=REACH).astype(np.float32) for side in room)
    return -low, high


def gradient(outputs: Floats, centres: Floats, pixels: Floats, colours: int = 3) -> Floats:
    """By outputs of a head (n, 12 K), of the bits of n positions: (n, 12 K). Shapes: centres, pixels (n, 3), in coding order."""
    return _loss(outputs, centres, pixels, colours)[1]


def bits(outputs: Floats, centres: Floats, pixels: Floats) -> Floats:
    """-log2 p of pixels (n, 3), in coding order, under the mixtures of outputs (n, 12 K), whose centres (n, 3) are references."""
    return _loss(outputs, centres, pixels, 3)[0]


def _loss(outputs: Floats, centres: Floats, pixels: Floats, colours: int) -> tuple[Floats, Floats]:
    n = len(outputs)
    logits, means, log_scales, slopes = parts = outputs.reshape(n, 4, 3, -1).swapaxes(0, 1)
    differences = (pixels - centres)[:, :, None]
    weights = np.exp((logits - logits.max(-1, keepdims=True)) / 16)
    weights /= weights.sum(-1, keepdims=True)
    ahead = np.zeros_like(means)  # what the slopes add to the means
    ahead[:, 1] = slopes[:, 0] * differences[:, 0] / 16
    ahead[:, 2] = (slopes[:, 1] * differences[:, 0] + slopes[:, 2] * differences[:, 1]) / 16
    inverse = np.exp(np.clip(log_scales, -48, 79) / -16)
    distance = differences - means - ahead
    above, below = (np.clip((distance + half) * inverse, -30, 30) for half in (0.5, -0.5))
    share_above, share_below = 1 / (1 + np.exp(-above)), 1 / (1 + np.exp(-below))
    density_above, density_below = share_above * (1 - share_above), share_below * (1 - share_below)
    for value, share, density, full in ((255, share_above, density_above, 1), (0, share_below, density_below, 0)):
        at_end = pixels == value
        share[at_end], density[at_end] = full, 0
    each = share_above - share_below
    total = (weights * each).sum(-1, keepdims=True) + np.float32(1e-7)
    by_each = -weights / (total * np.float32(np.log(2)))
    by_each[:, colours:] = 0
    out = np.zeros_like(parts)
    out[0] = by_each * (each - total) / 16
    out[1] = by_each * (density_below - density_above) * inverse
    out[2] = by_each * (below * density_below - above * density_above) / 16
    out[3][:, 0] = out[1][:, 1] * differences[:, 0] / 16
    out[3][:, 1] = out[1][:, 2] * differences[:, 0] / 16
    out[3][:, 2] = out[1][:, 2] * differences[:, 1] / 16
    gradients: Floats = out.swapaxes(0, 1).reshape(n, -1)
    return -np.log2(total[..., 0]), gradients
