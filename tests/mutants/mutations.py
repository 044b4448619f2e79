"""The mistakes that tests must see: each a small change of the text of a file, and the tests that must fail then.

Only tests that do not compare with a golden file are named, but for the lists of what files hold: what keeps every file decodable
would see nearly all of these, and would not say what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

Edit = tuple[str, str]  # what stands there once, and what takes its place


@dataclass(frozen=True)
class Mutation:
    """A mistake: `what` it is, in words; the edits of one file; test files, or tests as pytest names them."""

    what: str
    file: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _mutation(what: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(what, file, ((old, new),), tests)


def _both_ways(what: str, file: str, edits: tuple[Edit, Edit], *tests: str) -> Mutation:
    """One that encoder and decoder make alike, so that everything still comes back."""
    return Mutation(what, file, edits, tests)


UNIT, TUTORIAL = "tests/unit/test_", "tests/slow/tutorial/test_tutorial_"
ANS, TABLES, BITSBACK, MONTECARLO = f"{UNIT}ans.py", f"{UNIT}tables.py", f"{UNIT}bitsback.py", f"{UNIT}montecarlo.py"
PHOTO_CODEC, PHOTO_NETWORK, CORE_PHOTO = f"{UNIT}photo_codec.py", f"{UNIT}photo_network.py", f"{UNIT}core_photo.py"
EXACT, CONVOLUTION, EXPORT = f"{UNIT}exact.py", f"{UNIT}core_convolution.py", f"{UNIT}export.py"
CONTAINER, ARCHIVE, TENSORS, API = f"{UNIT}container.py", f"{UNIT}archive.py", f"{UNIT}tensors.py", f"{UNIT}api.py"
SETS, PLAN, SET_MODELS = f"{UNIT}sets.py", f"{UNIT}plan.py", f"{UNIT}set_models.py"
MODELS, CODES, EXPERIMENTS = f"{TUTORIAL}models.py", f"{TUTORIAL}codes.py", f"{TUTORIAL}experiments.py"
CLAIMS = "tests/slow/test_benchmarks_claims.py"

MUTATIONS = (
    # The message
    _mutation(
        "ans: push lets a head that is full grow beyond 2**63",
        "bbans/_core/rans.h",
        "if (head >= width << (63 - precision)) {",
        "if (head > width << (63 - precision)) {",
        ANS,
    ),
    _mutation(
        "ans: pop takes a word although the head is in its range",
        "bbans/_core/rans.h",
        "if (head < (uint64_t)1 << 31) {",
        "if (head <= (uint64_t)1 << 31) {",
        ANS,
    ),
    _mutation(
        "ans: the lowest size is forgotten once words come on top again",
        "bbans/ans.py",
        "self.lowest = min(self.lowest, size)",
        "self.lowest = size",
        ANS,
    ),
    _mutation(
        "ans: the check of initial bits looks at their number alone",
        "bbans/ans.py",
        "return self == Message.primed(self.size, self.head.size, seed)",
        "return self.size == Message.primed(self.size, self.head.size, seed).size",
        ANS,
    ),
    _mutation(
        "ans: another shift in the generator of initial bits", "bbans/ans.py", "z >> np.uint64(27)", "z >> np.uint64(26)", ANS
    ),
    _mutation(
        "ans: a codec on some lanes hides how many words it took",
        "bbans/combinators.py",
        "message.lowest = min(message.lowest, part.lowest)",
        "pass",
        f"{UNIT}combinators.py",
    ),
    # Tables
    _mutation(
        "tables: what is left over goes to the smallest remainders",
        "bbans/tables.py",
        "np.argsort(freq - share",
        "np.argsort(share - freq",
        TABLES,
    ),
    _mutation(
        "tables: probabilities are summed in the order of the machine",
        "bbans/tables.py",
        "math.fsum(row)",
        "float(row.sum())",
        TABLES,
    ),
    _mutation(
        "tables: a cumulative function leaves symbols no freq of their own",
        "bbans/tables.py",
        "* ((1 << precision) - n)).astype(np.int64) + k",
        "* (1 << precision)).astype(np.int64)",
        TABLES,
    ),
    _mutation(
        "tables: logarithms of weights are cut, not rounded",
        "bbans/tables.py",
        "logs + (1 << (LOG_BITS - _EXP2_BITS - 1))) >>",
        "logs) >>",
        TABLES,
    ),
    _mutation(
        "meter: logarithms are those of the entry before",
        "bbans/meter.py",
        "below = int(table[entry])",
        "below = int(table[max(entry - 1, 0)])",
        SET_MODELS,
    ),
    # Schemes of bits-back coding
    _both_ways(
        "bitsback: z is drawn from p both ways",
        "bbans/bitsback.py",
        (
            (
                "message, latent = posterior(data).pop(message)",
                "message, latent = prior.pop(message)",
            ),
            ("return posterior(data).push(message, latent), data", "return prior.push(message, latent), data"),
        ),
        BITSBACK,
    ),
    _mutation(
        "bitsback: a fallback leaves the message without the bits that it tried",
        "bbans/bitsback.py",
        "own.restore(before)",
        "pass",
        BITSBACK,
    ),
    _mutation(
        "bitsback: every message of a batch has to have enough bits but the last",
        "bbans/bitsback.py",
        "for own, before in zip(messages, saved, strict=True):",
        "for own, before in zip(messages[:-1], saved, strict=False):",
        BITSBACK,
    ),
    _both_ways(
        "bitsback: top-down latents are drawn from p both ways",
        "bbans/bitsback.py",
        (
            ("lambda prior, context: q(context))", "lambda prior, context: prior)"),
            (
                "for _, context, latent in reversed(levels):\n            message = q(context).push(message, latent)",
                "for own, _, latent in reversed(levels):\n            message = own.push(message, latent)",
            ),
        ),
        BITSBACK,
    ),
    _mutation(
        "bitsback: Bit-Swap takes the initial bits of all latents",
        "bbans/bitsback.py",
        '"bit-swap": bit_swap}',
        '"bit-swap": markov}',
        SET_MODELS,
    ),
    # Monte Carlo bits-back
    _mutation(
        "montecarlo: weights forget the posterior",
        "bbans/montecarlo.py",
        " - posterior.log_freqs(z, rows) for z in latents]",
        " for z in latents]",
        MONTECARLO,
    ),
    _both_ways(
        "montecarlo: the other particles are given back by p both ways",
        "bbans/montecarlo.py",
        (
            (
                "message = q.push(message, _pick(stack, j + (chosen <= j)))",
                "message = prior.push(message, _pick(stack, j + (chosen <= j)))",
            ),
            ("message, other = q.pop(message)", "message, other = prior.pop(message)"),
        ),
        MONTECARLO,
    ),
    _mutation(
        "montecarlo: coupled particles are all the same",
        "bbans/montecarlo.py",
        "return intervals, values.astype(np.int64).reshape",
        "return intervals, 0 * values.astype(np.int64).reshape",
        MONTECARLO,
    ),
    _mutation(
        "montecarlo: which particle it is costs twice",
        "bbans/montecarlo.py",
        "yield uniform(particles, (len(message),)",
        "yield uniform(particles**2, (len(message),)",
        MONTECARLO,
    ),
    # The photo model: its codec, its networks, its adaptive stage
    _mutation(
        "photo: z is drawn from p both ways",
        "bbans/models/photo/codec.py",
        "return self.latent_codec(level, level.posterior)",
        "return self.latent_codec(level, level.prior)",
        PHOTO_CODEC,
    ),
    _mutation(
        "photo: x10 does not know what the posterior says of z",
        "bbans/models/photo/codec.py",
        "yield pixels(2, level.posterior.mode())",
        "yield pixels(2, level.prior.mode())",
        PHOTO_CODEC,
    ),
    _mutation(
        "photo: what a message holds beyond the picture goes unseen",
        "bbans/models/photo/codec.py",
        "        _check_spent([shared])",
        "        pass",
        PHOTO_CODEC,
    ),
    _mutation(
        "photo: the posterior sees the residuals of the first phase alone",
        "bbans/models/photo/level.py",
        "for phase in (0, 1):",
        "for phase in (0,):",
        PHOTO_NETWORK,
    ),
    _mutation(
        "photo: bits given back are counted without the prior's",
        "bbans/models/photo/codec.py",
        "likelihood + prior + changes - net, 0, changes)]",
        "likelihood + changes - net, 0, changes)]",
        PHOTO_CODEC,
    ),
    _mutation(
        "photo: the map of the adaptive stage learns nothing",
        "bbans/_core/photo.c",
        "edges[b] += (int32_t)shift_right((int64_t)(targets[b] - edges[b]) * rate, 16);",
        "edges[b] += 0 * rate * targets[b];",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: least mean squares learn in the wrong direction",
        "bbans/_core/photo.c",
        "weights[i] + ((scaled * features[i]) >> 8);",
        "weights[i] - ((scaled * features[i]) >> 8);",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: blue does not look at red",
        "bbans/_core/features.h",
        " + row[11 * k + i] * second + 2, 2);",
        " + 2, 2);",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: least squares never forget",
        "bbans/_core/least_squares.h",
        "squares->sums[i] -= shift_right(squares->sums[i], FORGET_BITS)",
        "squares->sums[i] -= 0 * shift_right(squares->sums[i], FORGET_BITS)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: least squares have no ridge",
        "bbans/_core/least_squares.h",
        "(sums[i] >> 14) + RIDGE",
        "(sums[i] >> 14)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: decisions are mixed by one set of weights",
        "bbans/_core/mixing.h",
        "weighted_sum(d->of_vote, d->votes, VOTES)",
        "weighted_sum(d->of_vote, d->votes, 1)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: weights of decisions learn in the wrong direction",
        "bbans/_core/mixing.h",
        "clamp32(weights[i] + shift_right32(scaled * inputs[i]",
        "clamp32(weights[i] - shift_right32(scaled * inputs[i]",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: histograms are the same in all contexts",
        "bbans/_core/photo.c",
        "[colour][i][sources.expected.contexts[i]]",
        "[colour][i][0]",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: histograms learn distances of one value less",
        "bbans/_core/histograms.h",
        "clamp32(distance + BARS / 2, 0, BARS - 1)",
        "clamp32(distance + BARS / 2 - 1, 0, BARS - 1)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: context maps learn the answer that did not come",
        "bbans/_core/context_maps.h",
        "(yes ? (1 << CHANCE_BITS) - 1 : 0)",
        "(yes ? 0 : (1 << CHANCE_BITS) - 1)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: blue goes with green alone, not with red too",
        "bbans/_core/expected.h",
        "colour == 2 ? at[0] - at[1] : blue;",
        "colour == 2 ? at[1] : blue;",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: no decisions inside of an interval of four values",
        "bbans/_core/coding.h",
        "above.edge.x - below.edge.x > FEW",
        "above.edge.x - below.edge.x >= FEW",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: red has the same widths for every green",
        "bbans/_core/widths.h",
        "widths + (1 + green) * (VALUES + 1)",
        "widths + (VALUES + 1)",
        CORE_PHOTO,
    ),
    _mutation(
        "photo: pixels of the strip itself are looked at as the nearest",
        "bbans/_core/phase.h",
        "taps->nearest[0] = diagonal ? -row - column : -column;",
        "taps->nearest[0] = diagonal ? -2 * column : -2 * row;",
        CORE_PHOTO,
    ),
    # Exact networks
    _mutation("exact: halves are rounded up", "bbans/exact/network.py", "some = (exponents > 0)", "some = (exponents < 0)", EXACT),
    _mutation(
        "exact: the bound forgets what is added before rounding",
        "bbans/exact/network.py",
        " + (ACTIVATION_MAX << self.exponent.astype(np.int64))",
        "",
        EXACT,
    ),
    _mutation(
        "exact: activations reach 128",
        "bbans/_core/convolution.c",
        "round_shift(sums[j] + onto, exponent), 0, ACTIVATION_MAX)",
        "round_shift(sums[j] + onto, exponent), 0, ACTIVATION_MAX + 1)",
        CONVOLUTION,
    ),
    _mutation(
        "exact: a backend that rounds is used",
        "bbans/exact/runtime.py",
        "if network.digest() == digest:",
        "if network.digest():",
        PHOTO_NETWORK,
    ),
    _mutation(
        "exact: exported biases are cut, not rounded",
        "bbans/exact/export.py",
        "/ ACTIVATION_STEP * 2.0**exponent).round()",
        "/ ACTIVATION_STEP * 2.0**exponent).floor()",
        EXPORT,
    ),
    # Files
    _mutation(
        "formats: long gaps between values are closed too",
        "bbans/images/gaps.py",
        "if above - below - 1 <= _LONGEST:",
        "if above > below:",
        f"{UNIT}gaps.py",
    ),
    _mutation(
        "formats: a channel is by another where only most of it is",
        "bbans/images/channels.py",
        "if not np.array_equal(table[own], values):",
        "if (table[own] != values).mean() > 0.01:",
        f"{UNIT}channels.py",
    ),
    _mutation(
        "formats: the check of a section is not looked at",
        "bbans/formats/container.py",
        "if crc32(body) != crc:",
        "if False:",
        CONTAINER,
    ),
    _mutation(
        "formats: a number has two spellings", "bbans/formats/wire.py", "if byte == 0 and place > 0:", "if False:", CONTAINER
    ),
    _mutation(
        "formats: a file of the next version is read as if it were of this one",
        "bbans/formats/wire.py",
        "if version > newest:",
        "if version > newest + 1:",
        CONTAINER,
    ),
    _mutation(
        "formats: a link may lead one folder out of its own",
        "bbans/formats/entries.py",
        'climbs > link.name.count("/")',
        'climbs > link.name.count("/") + 1',
        ARCHIVE,
    ),
    _mutation(
        "formats: a link may go up after it went down, perhaps through another",
        "bbans/formats/entries.py",
        'if ".." in parts[climbs:]:',
        "if False:",
        ARCHIVE,
    ),
    _mutation(
        "sets: a tar may end anywhere between its members",
        "bbans/sets/tar.py",
        "if tar.fileobj.read(len(_END)) != _END:",
        "if False:",
        f"{UNIT}pack_files.py",
    ),
    _mutation(
        "formats: a chunk may hold any number of samples",
        "bbans/formats/groups.py",
        "* math.prod(shape) <= MAX_CHUNK_SAMPLES,",
        "* math.prod(shape) > 0,",
        ARCHIVE,
    ),
    _mutation(
        "formats: the content check leaves the metadata out",
        "bbans/vaez.py",
        "+ sizes + content.metadata)",
        "+ sizes)",
        API,
    ),
    # Sets of images
    _mutation(
        "sets: initial bits that changed go unseen",
        "bbans/models/sets.py",
        "if not all(message.is_primed() for message in opened):",
        "if not opened:",
        SET_MODELS,
    ),
    _mutation(
        "sets: the check of a chunk leaves the metadata out",
        "bbans/sets/chunk.py",
        'digest(_pack_wrappers(self.wrappers) if self.wrappers else b"", np',
        'digest(b"", np',
        SETS,
    ),
    _mutation(
        "sets: a codec is chosen without what its chunks begin with",
        "bbans/sets/plan.py",
        "key=lambda plan: plan.bits)",
        "key=lambda plan: plan.image_bits)",
        PLAN,
    ),
    # The tutorial
    _mutation(
        "tutorial: an IWAE is trained by the ELBO",
        "benchmarks/tutorial/posteriors.py",
        "return -self.bound(x, self.particles).mean()",
        "return -self.bound(x, 1).mean()",
        MODELS,
    ),
    _mutation(
        "tutorial: beta-VAE counts the KL term once",
        "benchmarks/tutorial/objectives.py",
        "beta = 4.0",
        "beta = 1.0",
        MODELS,
    ),
    _mutation(
        "tutorial: latents are drawn from bits that are not clean",
        "benchmarks/tutorial/coding.py",
        "(bits + by) & ((1 << PRECISION) - 1)",
        "bits & ((1 << PRECISION) - 1)",
        CODES,
    ),
    _mutation(
        "tutorial: a posterior of any covariance has none",
        "benchmarks/tutorial/posteriors.py",
        "mean[..., 1] + slope * (before[..., 0] - mean[..., 0])",
        "mean[..., 1] + 0 * slope * (before[..., 0] - mean[..., 0])",
        MODELS,
    ),
    _mutation(
        "tutorial: the bound of K draws is not divided by K",
        "benchmarks/tutorial/model.py",
        "return torch.logsumexp(self.log_weights(x, particles), 0) - math.log(particles)",
        "return torch.logsumexp(self.log_weights(x, particles), 0)",
        MODELS,
    ),
    # Figures
    _mutation("figures: a result in the README is typed over", "README.md", "**1.2973**", "**1.2873**", CLAIMS),
    _mutation(
        "figures: a result is typed into the README's text",
        "README.md",
        "for people who keep photos and want every pixel back.",
        "for people who keep photos and want every pixel back in 2.5 bits.",
        CLAIMS,
    ),
    _mutation(
        "figures: a result in a card is typed over",
        "bbans/models/weights/mnist-paper-1.md",
        "| MNIST | one chain, bb-ans | 1.2973 |",
        "| MNIST | one chain, bb-ans | 1.2873 |",
        CLAIMS,
    ),
    _mutation(
        "figures: a rate in DECISIONS.md is typed over", "bbans/models/DECISIONS.md", "2.6485 with z", "2.6385 with z", CLAIMS
    ),
)
