"""photo.c, in plain Python: slow, and what the compiled core is compared with."""

from __future__ import annotations

import math

import numpy as np

from bbans.tables import PRECISION, WEIGHT_BITS
from tests.reference.codecs import peek_one, pop_one, push_one
from tests.reference.distributions import mixture_below
from tests.reference.images import fill_mixture

SPREAD_CLASSES = 8
ENERGY_CLASSES = 16
PATTERNS = 3**5
BINS = 16
MOST_FEATURES = 32

_ONE = 256
RESIDUAL_LIMIT = 6 * _ONE
_REST_LIMIT = 64 * _ONE
_WEIGHT_LIMIT = 1 << 26
_BIAS_RATE = 5243
_BIAS_LIMIT = 1 << 21
_STEP_LIMIT = 64
_RATE = 6711
_RATE_START = 50332
_RATE_HALF = 300
_BIN_BITS = PRECISION - 4
_TOTAL = 1 << PRECISION
_GREEN, _RED, _BLUE = 1, 0, 2


def describe(means, indices, weights, spreads):
    """(centre, spread) of a mixture. Shapes: means, scale indices, weights (K,)."""
    centre = np.int64(0)
    for k in range(len(means)):
        centre += weights[k] * means[k]
    centre >>= WEIGHT_BITS
    spread = np.int64(0)
    for k in range(len(means)):
        spread += weights[k] * (spreads[indices[k]] + 8 * abs(means[k] - centre))
    return centre, spread >> WEIGHT_BITS


def residual(distance, inverse):
    """A distance in 1/64 of a pixel value in units of the spread, 8 fractional bits, clamped."""
    return min(max(distance * inverse >> 18, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


def spread_class(spread):
    """Octave of the spread: 0 below a quarter of a pixel value, 7 from 16."""
    found, edge = 0, np.int64(256)
    while found < SPREAD_CLASSES - 1 and spread >= edge:
        found += 1
        edge <<= 1
    return found


def pattern(features):
    """The signs of the first five features, those within half a spread being none, as a number to the base of 3."""
    number = 0
    for i in range(5):
        number = 3 * number + (0 if features[i] < -_ONE // 2 else (2 if features[i] > _ONE // 2 else 1))
    return number


def predicted_shift(features, count, weights, bias, spread):
    """What to add to the means, in 1/64 of a pixel value. Shapes: features, weights (MOST_FEATURES,)."""
    total = bias
    for i in range(count):
        total += np.int64(features[i]) * (weights[i] >> 12)
    return total * spread >> 24


class LeastSquares:
    """Weighted least squares with forgetting, of a list of features with the target as its last."""

    def __init__(self, taps, sums):
        self.taps = taps
        self.sums = [[int(sums[i * (i + 1) // 2 + j]) for j in range(i + 1)] for i in range(taps + 1)]
        self.coefficients = [0] * taps
        self.solve()

    def predict(self, features):
        return sum(a * f for a, f in zip(self.coefficients, features, strict=True))

    def add(self, sample, weight):
        for i in range(self.taps + 1):
            for j in range(i + 1):
                self.sums[i][j] += weight * sample[i] * sample[j]

    def solve(self):
        n = self.taps
        own = [self.sums[i][i] + (self.sums[i][i] >> 14) + (1 << 24) for i in range(n + 1)]
        exponents = [next(e for e in range(-2, 64) if scaled(own[i], 2 * e) < 1 << 30) for i in range(n + 1)]
        rows = [[0] * (i + 1) for i in range(n + 1)]
        inverse = [0] * n
        for i in range(n + 1):
            for j in range(i):
                rest = (scaled(self.sums[i][j], exponents[i] + exponents[j]) << 30) - dot(rows[i], rows[j], j)
                assert abs(rest) < 1 << 63
                rows[i][j] = (rest >> 30) * inverse[j] >> 24
            if i < n:
                rest = (scaled(own[i], 2 * exponents[i]) << 30) - dot(rows[i], rows[i], i)
                rows[i][i] = max(math.isqrt(max(rest, 0)), 1 << 22)
                inverse[i] = (1 << 54) // rows[i][i]
        solution = [0] * n
        for i in reversed(range(n)):
            rest = (rows[n][i] << 20) - sum(rows[m][i] * solution[m] for m in range(i + 1, n))
            rest = min(max(rest, -(1 << 57)), 1 << 57)
            solution[i] = min(max((rest >> 28) * inverse[i] >> 26, -(1 << 27)), 1 << 27)
            coefficient = scaled(solution[i], 4 + exponents[i] - exponents[n])
            self.coefficients[i] = min(max(coefficient, -(1 << 20)), 1 << 20)
        self.sums = [[v - (v >> 8) for v in row] for row in self.sums]


def scaled(x, exponent):
    return x >> exponent if exponent >= 0 else x << -exponent


def dot(a, b, count):
    return sum(a[i] * b[i] for i in range(count))


def taps_around(row, column):
    """(close, all) taps (dy, dx) of a phase, by its row and column."""
    order = {(0, 0): 0, (1, 1): 1, (0, 1): 2, (1, 0): 3}
    here = order[row, column]
    found = []
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            phase = order[(row + dy) % 2, (column + dx) % 2]
            if phase < here or (phase == here and (dy, dx) < (0, 0)):
                found.append((dy, dx))
    close = [tap for tap in found if abs(tap[0]) + abs(tap[1]) <= 2]
    return close, close + [tap for tap in found if tap not in close]


def look_around(canvas, y, x, colour, taps):
    """(mean, features): a local mean of colour and the pixels around less it, both with 3 fractional bits."""
    close, every = taps
    own = [int(canvas[y + dy, x + dx, _channel(colour)]) for dy, dx in every]
    mean = (16 * sum(own[: len(close)]) + len(close)) // (2 * len(close))
    features = [8 * pixel - mean for pixel in own]
    if colour:
        features[len(close) :] = [8 * green_step(canvas, (y + dy, x + dx), colour) for dy, dx in every[len(close) :]]
    for before in range(colour):
        features += [8 * int(canvas[y + dy, x + dx, _channel(before)]) - mean for dy, dx in [*close, (0, 0)]]
    return mean, features


def green_step(canvas, at, colour):
    """A colour less G."""
    return int(canvas[(*at, _channel(colour))]) - int(canvas[(*at, _GREEN)])


def sample_weight(error, spread):
    return (1 << 28) // ((256 + abs(error)) * ((spread >> 4) + 16))


def learn_shift(features, count, weights, gradient, seen):
    """A step of least mean squares, after ``seen`` symbols of this class."""
    rate = _RATE + _RATE_START * _RATE_HALF // (_RATE_HALF + seen)
    scaled = gradient * rate >> 12
    for i in range(count):
        weight = np.int64(weights[i]) + (scaled * features[i] >> 8)
        weights[i] = min(max(weight, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)


def likelihood_slope(rest, step, table, factors):
    """(gradient, stretch): slopes of the logistic log-likelihood by the mean and by the log scale, 12 fractional bits.

    For z the distance from the corrected mean in units of the corrected spread: tanh(z / 2), and z tanh(z / 2) - 1 up to 3.
    """
    z = min(max(rest * factors[step + _STEP_LIMIT] >> 16, -4088), 4088)
    gradient = (table[512 + (z >> 3)] - (_TOTAL >> 1)) >> 11
    return gradient, min((z * gradient >> 8) - 4096, 3 * 4096)


def mapped(share, edges):
    """The recalibrated share of 2**24. Shapes: edges (BINS + 1,)."""
    b = min(share >> _BIN_BITS, BINS - 1)
    return edges[b] + ((edges[b + 1] - edges[b]) * (share - (b << _BIN_BITS)) >> _BIN_BITS)


def distance_from(distance, shift, inverse):
    """A distance from the corrected mean in units of the spread, less tightly clamped than a residual."""
    return min(max((distance - shift) * inverse >> 18, -_REST_LIMIT), _REST_LIMIT)


def learned_bias(bias, gradient):
    """A bias after a symbol."""
    return min(max(bias + (gradient * _BIAS_RATE >> 12), -_BIAS_LIMIT), _BIAS_LIMIT)


def learned_step(step, stretch, seen):
    """The correction of a scale, with its 16 fractional bits, after ``seen`` symbols of its classes."""
    limit = np.int64(_STEP_LIMIT) << 16
    return min(max(step + (stretch * falling_rate(seen, 3, 328) >> 9), -limit), limit)


def falling_rate(seen, offset, least):
    """max(least, 2**16 // (seen + offset)), mostly without the division."""
    return np.int64(least) if (seen + offset) * least >= 65536 else 65536 // (seen + offset)


def learn_map(edges, low, high, seen):
    """Move the map towards one under which the shares low..high, those of the symbol that came, are all there is."""
    rate = falling_rate(seen, 50, 131)
    inverse = (np.int64(1) << 40) // max(high - low, 1)
    for b in range(1, BINS):
        edge = np.int64(b) << _BIN_BITS
        target = np.int64(0)
        if edge >= high:
            target = np.int64(_TOTAL)
        elif edge > low:
            target = (edge - low) * inverse >> 16
        edges[b] += (target - edges[b]) * rate >> 16


def mapped_cf(x, means, inverse_scales, weights, edges, table, there=None):
    """(share, cf) at the lower edge of pixel x in 0..256, which is even or there: cf is the start of its interval."""
    if x <= 0:
        return np.int64(0), np.int64(0)
    if x >= 256:
        return np.int64(_TOTAL), np.int64(_TOTAL)
    share = mixture_below(64 * x - 32 if there is None else there, means, inverse_scales, weights, table) >> WEIGHT_BITS
    return share, (mapped(share, edges) * (_TOTAL - 256) >> PRECISION) + x


def mapped_search(cf, centre, spread, means, inverse_scales, weights, edges, table):
    """(symbol, share below, share above, start, stop) of the interval that holds cf. Inverse: mapped_cf.

    Steps that begin at about half a spread and double lead from the centre, near which most pixels are, to an interval that holds
    cf; then halves.
    """
    low = min(max((centre + 32) >> 6, 0), 255)
    step = max(spread >> 11, 1)
    high = min(low + step, 256)
    below, start = mapped_cf(low, means, inverse_scales, weights, edges, table)
    if start > cf:
        while start > cf:
            high = low
            above, stop = below, start
            low = max(low - step, 0)
            step *= 2
            below, start = mapped_cf(low, means, inverse_scales, weights, edges, table)
    else:
        above, stop = mapped_cf(high, means, inverse_scales, weights, edges, table)
        while stop <= cf:
            low, below, start = high, above, stop
            step *= 2
            high = min(high + step, 256)
            above, stop = mapped_cf(high, means, inverse_scales, weights, edges, table)
    while high - low > 1:
        middle = (low + high) >> 1
        share, edge = mapped_cf(middle, means, inverse_scales, weights, edges, table)
        if edge <= cf:
            low, below, start = middle, share, edge
        else:
            high, above, stop = middle, share, edge
    return low, below, above, start, stop


class Widths:
    """How wide values are, in 1/256 of an even width, where some pixels (n, 3) are known."""

    def __init__(self, pixels):
        red, green, blue = np.asarray(pixels, np.int64).T
        counts = np.zeros(256, np.int64), np.zeros((256, 256), np.int64), np.zeros((511, 511), np.int64)
        np.add.at(counts[0], green, 1)
        np.add.at(counts[1], (green, red), 1)
        np.add.at(counts[2], (red - green + 255, blue - green + 255), 1)
        self.of_green, self.of_red, self.of_differences = map(widths_of, counts)

    def around(self, pixel, colour, threshold):
        """(first value, widths of the values near the threshold), for a pixel whose colours before are known."""
        red, green = int(pixel[0]), int(pixel[1])
        differences = self.of_differences[red - green + 255]
        every = (self.of_green, self.of_red[green], differences[255 - green : 511 - green])[colour]
        first = max(threshold - 8, 0)
        return first, every[first : threshold + 8].tolist()


def widths_of(counts):
    """By how often a value comes among the five around it, which count less the further off they are; all of them 10 times more."""
    padded = np.pad(counts, [(0, 0)] * (counts.ndim - 1) + [(2, 2)])
    around = sum(weight * padded[..., i : i + counts.shape[-1]] for i, weight in enumerate((1, 2, 3, 2, 1)))
    return 256 * 9 * (counts + 10) // (around + 9 * 10)


def uneven_edge(x, first, widths):
    """The lower edge of value x, in 1/64 of a value. The widths fill what is between the even edges around them."""
    even = 64 * x - 32
    if not first < x < first + len(widths):
        return even
    ratio = (len(widths) << 22) // sum(widths)
    return 64 * first - 32 + (sum(widths[: x - first]) * ratio >> 16)


def expectations(canvas, y, x, colour, corner, energy, far):
    """([(value, context)], variety, what context maps know).

    The values are what two looks at pixels around make expect, then, after room for the predictions, single pixels; variety is how
    far the nearest are from each other. far: distances of single pixels, as `Distances` has them.
    """
    nearest = [(-1, -1), (1, 1), (-1, 1), (1, -1)] if corner == (1, 1) else [(0, -1), (0, 1), (-1, 0), (1, 0)]
    own_phase = [(0, -2), (-2, 0), (-2, -2), (-2, 2)]
    looks = [(nearest, None), (own_phase, None)], [(nearest, 0), (nearest, None)], [(nearest, 1), (nearest, 0)]
    expected, here = [], canvas[y, x].tolist()

    def moved(dy, dx, known):
        other = canvas[y + dy, x + dx].tolist()
        return other[_channel(colour)] + (0 if known is None else here[_channel(known)] - other[_channel(known)])

    for places, known in looks[colour]:
        a, b, c, d = (moved(*place, known) for place in places)
        expected += [((a + b + 1) >> 1, apart(a, b)), ((c + d + 1) >> 1, apart(c, d)), ((a + b + c + d + 2) >> 2, energy)]
    single = [moved(*place, 0 if colour else None) for place in nearest + own_phase]

    around = [canvas[y + dy, x + dx].tolist() for dy, dx in nearest + own_phase[:2]]
    red = [r - g for r, g, _ in around]
    if colour == 0:
        alike = [step == red[4] for step in red]  # the fifth is the pixel to the left, of the own phase
    elif colour == 1:
        alike = [g == here[_GREEN] for _, g, _ in around]
    else:
        alike = [step == here[_RED] - here[_GREEN] for step in red]
    greens, reds, blues = (sum(pixel[i] for pixel in around[:4]) for i in (_GREEN, _RED, _BLUE))
    if colour == 0:
        other = [0, single[4], greens + 2 >> 2, reds - greens + 2 >> 2, expected[5][0], blues - greens + 2 >> 2]
    else:
        own, green = (reds, blues)[colour - 1], here[_GREEN]
        pair = blues - greens + 2 >> 2 if colour == 1 else here[_RED] - green
        other = [green, green, pair, pair, own - greens + 2 >> 2, green]
    variety = 16 * expected[0][1] + expected[1][1]
    return expected, list(zip(single, far.contexts(colour), strict=True)), variety, (alike, other)


def apart(first, second):
    return min(abs(first - second), 15)


class Distances:
    """How far single pixels were from the pixel that came, for those before (y, x) in the strip; 6 elsewhere."""

    def __init__(self):
        self.noted, self.at = {}, (0, 0)

    def contexts(self, colour):
        y, x = self.at
        places = (3, y, x - 1), (3, y - 1, x), (1, y - 1, x - 1), (1, y - 1, x + 1)
        around = [[weight * far for far in self.noted.get((row, column, colour), [6] * 8)] for weight, row, column in places]
        return [min(sum(four) >> 2, 15) for four in zip(*around, strict=True)]

    def note(self, colour, symbol, singles):
        self.noted[(*self.at, colour)] = [min(abs(symbol - value), 60) for value in singles]


class Histograms:
    """Shares of distances of values from those expected, below 32 bars each."""

    def __init__(self):
        falls = [1 << 20]
        while len(falls) < 17:
            falls.append(falls[-1] * 210 >> 8)
        ends = np.cumsum([0, *(falls[abs(i - 16)] for i in range(32))]).tolist()
        self.fresh = [end * 32767 // ends[-1] for end in ends]
        self.shares, self.seen = {}, {}

    def below(self, key, distance):
        return self.shares.setdefault(key, list(self.fresh))[min(max(distance + 16, 0), 32)]

    def learn(self, key, distance):
        count = self.seen[key] = min(self.seen.get(key, 3) + 1, 255)
        bar, shares = min(max(distance + 16, 0), 31), self.shares[key]
        for i in range(1, 32):
            target = 32767 if i > bar else 0
            shares[i] += ((target - shares[i]) * (65536 // (2 * count + 3)) >> 14) + 1 >> 1


class ContextMaps:
    """The probability of yes, and how many decisions taught it, in each context."""

    def __init__(self):
        self.chances = {}

    def input(self, key, logarithms):
        yes = self.chances.setdefault(key, [32768, 0])[0]
        return int(logarithms[(yes + 256 >> 1) >> 3]) - int(logarithms[(65536 + 256 - yes >> 1) >> 3])

    def learn(self, keys, yes):
        for key in keys:
            chance = self.chances[key]
            chance[1] = min(chance[1] + 1, 255)
            chance[0] += ((65535 if yes else 0) - chance[0]) * (65536 // (2 * chance[1] + 3)) + (1 << 14) >> 15


def contexts_of(x, mean, values, known):
    """(contexts of x in the 13 maps, the position of x). values: the 16 expected ones; mean: the corrected one, in 1/64."""
    single, (alike, (base, anchor, pair, other_pair, first, second)) = values[8:], known
    quarter = min(max((int(mean) - 64 * x + 32 >> 4) + 12, 0), 23)
    nearest, before = sides(single[:4], x), sides(single[4:], x)
    own, w, n = x - base, x - single[4], x - single[5]
    both = (own % 128, pair % 128)
    contexts = [
        (nearest, before),
        (quarter, nearest),
        (quarter, before),
        sides([*values[:6], values[7]], x),
        (*alike, *(value >= x for value in single[:6])),
        (x, quarter),
        (x - anchor, quarter),
        (*both, quarter // 8),
        both,
        (own % 64, pair % 64, first % 16),
        (own % 64, other_pair % 64, second % 16),
        (w % 32, (x - single[0]) % 32, (x - single[2]) % 32),
        (w % 32, n % 32, own % 32),
    ]
    return contexts, 3 * nearest + quarter // 8


def sides(values, x):
    """A digit to the base of 3 for each value, the first the highest: 0 below x, 1 at x, 2 above."""
    number = 0
    for value in values:
        number = 3 * number + (value >= x) + (value > x)
    return number


class Mixer:
    """Decisions with probabilities mixed from three models, sixteen histograms and thirteen context maps."""

    def __init__(self, table, learned):
        sets = {"node": "nodes", "class": "classes", "variety": "varieties", "position": "positions"}
        self.table = table
        self.weights = {kind: learned[f"{kind}_weights"].tolist() for kind in sets}
        self.votes = learned["vote_weights"].tolist()
        counts = [(kind, f"{several}_seen") for kind, several in sets.items()]
        self.seen = {(kind, *at): int(n) for kind, name in counts for at, n in np.ndenumerate(learned[name])}

    def mix(self, inputs, colour, *places):
        """(probability of yes, what `learn` needs). places: node, class, variety, position."""
        sets = [(kind, colour, place) for kind, place in zip(self.weights, places, strict=True)]
        weights = [self.weights[kind][colour][place] for kind, _, place in sets]
        sums = [weighted(w, inputs) for w in weights]
        probabilities = [squashed(total, self.table) for total in sums]
        votes, of_vote = [min(max(total >> 10, -8090), 8090) for total in sums], self.votes[colour][places[0]]
        mixed = squashed(weighted(of_vote, votes), self.table)
        p = min(max(mixed, 168), _TOTAL - 168)
        return p, (inputs, sets, weights, probabilities, votes, of_vote, p)

    def learn(self, yes, decision):
        inputs, sets, weights, probabilities, votes, of_vote, mixed = decision
        target = _TOTAL if yes else 0
        for key, w, p in zip(sets, weights, probabilities, strict=True):
            self.seen[key] += 1
            learn_weights(w, inputs, target - p, max(98, 1966 * 200 // (200 + self.seen[key])))
        learn_weights(of_vote, votes, target - mixed, 40)


def weighted(weights, inputs):
    total = sum((w >> 10) * value for w, value in zip(weights, inputs, strict=True))
    assert abs(total) < 1 << 31
    return total


def learn_weights(weights, inputs, error, rate):
    scaled = error * rate >> 18
    for i, value in enumerate(inputs):
        weights[i] = min(max(weights[i] + (scaled * value + (1 << 11) >> 12), -(1 << 23)), 1 << 23)


def squashed(total, table):
    place = min(max(32 * total + (512 << 20), 0), 1024 << 20)
    entry, fraction = place >> 20, place >> 4 & 0xFFFF
    return int(table[entry]) + ((int(table[entry + 1]) - int(table[entry])) * fraction >> 16)


def coarse_log2(x, logs):
    """log2(x) in 2**-16, rounded down to the entry of the table."""
    exponent = int(x).bit_length() - 1
    return (exponent << 16) + (int(logs[int(x) << 31 - exponent >> 21 & 1023]) >> 16)


def logit_of(yes, no, logs):
    difference = (coarse_log2(yes, logs) - coarse_log2(no, logs)) * 45426 >> 22
    return int(min(max(difference, -8090), 8090))


def code_decided(
    coder,
    symbol,
    mixer,
    learners,
    colour,
    models,
    edges,
    uneven,
    threshold,
    step,
    of_errors,
    mean,
    expected,
    variety,
    known,
    tables,
):
    """(symbol, low, high): its value and the shares below and above. coder: a function that codes (start, freq), or decodes.

    models: means, scales and weights of the corrected mixture and of the networks'.
    uneven: the first value near the threshold and the widths from there on; the corrected mixture once more, with these.
    of_errors: the class of the spread and of errors around; expected, variety, known: as `expectations` gives them, and the
    predictions. mean: that of the corrected mixture. learners: histograms and context maps.
    """
    (histograms, maps), table, logs, logarithms = learners, tables[0], tables[7], tables[6]
    keys = [(colour, i, context) for i, (_, context) in enumerate(expected)]
    flat = np.arange(BINS + 1) << _BIN_BITS

    def cut(x):
        shares = [mapped_cf(x, *mixture, flat if i == 1 else edges, table) for i, mixture in enumerate(models)]
        shares.append(mapped_cf(x, *models[0], edges, table, uneven_edge(x, *uneven)))
        return (x, int(shares[0][0]), *(int(share[1]) for share in shares)), bars(x)

    def bars(x):
        return [histograms.below(key, x - value) for key, (value, _) in zip(keys, expected, strict=True)]

    def learned(symbol):
        for key, (value, _) in zip(keys, expected, strict=True):
            histograms.learn(key, symbol - value)
        return symbol

    (below, bars_below), (above, bars_above) = ((0,) * 5, bars(0)), ((256, *[_TOTAL] * 4), bars(256))
    x, node, outward = threshold, 0, 0
    while True:
        here, bars_here = cut(x)
        inputs = [logit_of(above[i] - here[i], here[i] - below[i], logs) for i in (2, 3, 4)]
        for high, middle, low in zip(bars_above, bars_here, bars_below, strict=True):
            inputs.append(int(logarithms[high - middle + 2048 >> 3]) - int(logarithms[middle - low + 2048 >> 3]))
        contexts, position = contexts_of(x, mean, [value for value, _ in expected], known)
        contexts = [(colour, i, context) for i, context in enumerate(contexts)]
        inputs += [maps.input(context, logarithms) for context in contexts]
        p, decision = mixer.mix(inputs, colour, node, of_errors, variety, position)
        yes = coder.decide(p, None if symbol is None else symbol >= x)
        mixer.learn(yes, decision)
        maps.learn(contexts, yes)
        if yes:
            below, bars_below = here, bars_here
        else:
            above, bars_above = here, bars_here
        if outward == 0:
            up = yes
        if node != 7 and yes == up and outward < 3:
            x = below[0] + (step << outward) if up else above[0] - (step << outward)
            node = 1 + 3 * up + outward
            outward += 1
            if below[0] < x < above[0]:
                continue
        if not 1 < above[0] - below[0] <= 4:
            break
        x, node = (below[0] + above[0]) >> 1, 7
    first, last, base = below[0], above[0], below[2]
    if last - first == 1:
        return learned(first), below[1], above[1]
    inverse = (_TOTAL - (last - first) << 24) // (above[2] - base)

    def start(x):
        return _TOTAL if x == last else ((int(mapped_cf(x, *models[0], edges, table)[1]) - base) * inverse >> 24) + x - first

    symbol = learned(coder.search(start, first, last, symbol))
    return symbol, *(int(mapped_cf(x, *models[0], edges, table)[0]) for x in (symbol, symbol + 1))


class Encoder:
    """Notes intervals."""

    def __init__(self, intervals):
        self.intervals = intervals

    def decide(self, p, yes):
        self.intervals.append((0, p) if yes else (p, _TOTAL - p))
        return yes

    def search(self, start, first, last, symbol):
        self.intervals.append((start(symbol), start(symbol + 1) - start(symbol)))
        return symbol


class Decoder:
    """Pops from a message; raises `RanDry`."""

    def __init__(self, head, words, size):
        self.head, self.words, self.size = head, words, size

    def pop(self, start, freq):
        self.head, self.size = pop_one(self.head, self.words, self.size, np.int64(start), np.int64(freq), PRECISION)
        if self.size < 0:
            raise RanDry

    def decide(self, p, _):
        yes = bool(peek_one(self.head, PRECISION) < p)
        self.pop(*((0, p) if yes else (p, _TOTAL - p)))
        return yes

    def search(self, start, first, last, _):
        cf = peek_one(self.head, PRECISION)
        symbol = next(x for x in reversed(range(first, last)) if start(x) <= cf)
        self.pop(start(symbol), start(symbol + 1) - start(symbol))
        return symbol


class RanDry(Exception):
    pass


def _channel(colour):
    return _BLUE if colour == 2 else (_RED if colour == 1 else _GREEN)


def _gather(features, own, y, x, colour, earlier, row, places, reference, rests, near, channel, centre, inverse):
    """Fill the features of a symbol; returns how many. (y, x) is its place in ``own``, ``row`` its row in ``earlier``."""
    features[0] = own[y, x - 1, colour]
    features[1] = own[y - 1, x, colour]
    features[2] = own[y - 1, x - 1, colour]
    features[3] = own[y - 1, x + 1, colour]
    features[4] = own[y, x - 2, colour]
    features[5] = own[y - 2, x, colour]
    count = 6
    for other in range(colour):
        features[count] = own[y, x, other]
        count += 1
    for other in range(3):
        if other != colour:
            features[count] = own[y, x - 1, other]
            features[count + 1] = own[y - 1, x, other]
            count += 2
    for i in range(len(places)):
        features[count] = earlier[places[i, 0], row + places[i, 1], x - 1 + places[i, 2], colour]
        count += 1
    features[count] = residual(16 * reference - centre, inverse)
    count += 1
    for other in range(colour):
        features[count] = residual(16 * rests[other], inverse)
        count += 1
    for i in range(len(near)):
        features[count] = residual(16 * np.int64(near[i, y - 2, x - 2, channel]), inverse)
        count += 1
    return count


def _energy(errors, y, x, colour, earlier, row, places):
    """The mean error of the symbols around, in 1/256 of a spread. ``errors`` has a row and a column of 256 around.

    Of the phases before, it is the distance from the networks' mixtures that counts, and the two nearest count twice.
    """
    total = 2 * errors[y, x - 1, colour] + 2 * errors[y - 1, x, colour] + errors[y - 1, x - 1, colour]
    if colour == 0:
        total += errors[y, x - 1, colour] + errors[y - 1, x, colour] + errors[y - 1, x + 1, colour]
    elif colour == 1:
        total += errors[y - 1, x + 1, colour] + 2 * errors[y, x, 0]
    else:
        total += errors[y, x, 0] + 2 * errors[y, x, 1]
    if len(places) == 0:
        return total >> 3
    for i in range(6):
        error = abs(np.int64(earlier[places[i, 0], row + places[i, 1], x + places[i, 2], colour]))
        total += 2 * error if i < 2 else error
    return total >> 4


def _walk(coder, pixels, references, near, params, colours, earlier, top, places,
          adaptive, canvas, corner, decided, learned, sums, known, tables):  # fmt: skip
    """Go through a phase in reading order: pop its pixels, or note their intervals. Raises: RanDry."""
    decoding = isinstance(coder, Decoder)
    table, exponentials, inverse_scales, spreads, energies, factors = tables[:6]
    mixer, learners, far, widths = Mixer(table, learned), (Histograms(), ContextMaps()), Distances(), Widths(known)
    k = params.shape[2] // 12
    logits, means, indices = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    scales, weights = np.empty(k, np.int64), np.empty(k, np.int64)
    features = np.zeros(MOST_FEATURES, np.int32)
    rests = np.zeros(3, np.int64)
    own = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 4, 3), np.int32)  # residuals, with zeros above and at the sides
    errors = np.full((pixels.shape[0] + 1, pixels.shape[1] + 2, 3), 256, np.int64)
    linear, biases, steps, maps = (learned[name].copy() for name in ("weights", "biases", "steps", "maps"))
    linear_seen, steps_seen, maps_seen = (learned[name].astype(np.int64) for name in ("weights_seen", "steps_seen", "maps_seen"))
    biases, steps, maps = (array.astype(np.int64) for array in (biases, steps, maps))
    if not adaptive:
        maps[...] = np.arange(BINS + 1) << _BIN_BITS
    taps = taps_around(*corner)
    squares = [LeastSquares(len(taps[1]) + colour * (len(taps[0]) + 1), sums[colour]) for colour in range(3)]
    squares_seen = [0, 0, 0]
    shift, step, count, signs, kind, energy = 0, 0, 0, 0, 0, 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            row = params[y, x]
            for colour in range(colours):
                channel = _channel(colour)
                reference = np.int64(references[y, x, channel])
                fill_mixture(row, reference, 3, colour, rests[0], rests[1], logits, means, indices, weights, exponentials)
                centre, spread = describe(means, indices, weights, spreads)
                inverse = (1 << 30) // spread
                kind = spread_class(spread)
                edges = maps[colour, kind]
                if adaptive:
                    count = _gather(features, own, y + 2, x + 2, colour, earlier, top + y + 1, places, reference, rests, near,
                                    channel, centre, inverse)  # fmt: skip
                    at = 2 * y + corner[0] + 2, 2 * x + corner[1] + 2
                    local, around = look_around(canvas, *at, colour, taps)
                    squares_seen[colour] += 1
                    if squares_seen[colour] % 64 == 0:
                        squares[colour].solve()
                    expected = 8 * local + (squares[colour].predict(around) + (1 << 12) >> 13)
                    features[count] = residual(expected - int(centre), int(inverse))
                    count += 1
                    signs = pattern(features)
                    energy = energies[_energy(errors, y + 1, x + 1, colour, earlier, top + y + 1, places)]
                    shift = predicted_shift(features, count, linear[colour, kind], biases[colour, signs], spread)
                    step = (steps[colour, kind, energy] + (1 << 15)) >> 16
                raw = means.copy(), inverse_scales[indices], weights
                for i in range(k):
                    means[i] += shift
                    scales[i] = inverse_scales[min(max(indices[i] + step, 0), len(inverse_scales) - 1)]
                symbol = None if decoding else np.int64(pixels[y, x, channel])
                if adaptive and decided:
                    threshold = min(max(int(centre + shift + 32) >> 6, 1), 255)
                    of_errors = int(kind * ENERGY_CLASSES + energy)
                    far.at = y, x
                    means_of, singles, variety, of_colours = expectations(canvas, *at, colour, corner, int(energy), far)
                    predictions = (threshold, int(energy)), (min(max(expected + 32 >> 6, 0), 255), int(energy))
                    uneven = widths.around(canvas[at], colour, threshold)
                    models = (means, scales, weights), raw
                    distance = max((int(spread) * int(factors[_STEP_LIMIT - step]) >> 16) >> 10, 1)
                    symbol, low, high = code_decided(
                        coder, symbol, mixer, learners, colour, models, edges, uneven, threshold, distance, of_errors,
                        centre + shift, [*means_of, *predictions, *singles], variety, of_colours, tables,
                    )  # fmt: skip
                    far.note(colour, symbol, [value for value, _ in singles])
                elif decoding:
                    cf = peek_one(coder.head, PRECISION)
                    symbol, low, high, start, stop = mapped_search(cf, centre + shift, spread, means, scales, weights, edges, table)
                    coder.pop(start, stop - start)
                else:
                    low, start = mapped_cf(symbol, means, scales, weights, edges, table)
                    high, stop = mapped_cf(symbol + 1, means, scales, weights, edges, table)
                    coder.intervals.append((start, stop - start))
                symbol = np.int64(symbol)
                pixels[y, x, channel] = symbol
                rests[colour] = 4 * symbol - reference
                if not adaptive:
                    continue
                canvas[(*at, channel)] = symbol
                if x % 2 == 0:
                    weight = sample_weight(residual(64 * int(symbol) - expected, int(inverse)), int(spread))
                    squares[colour].add([*around, 8 * int(symbol) - local], weight)
                distance = 64 * symbol - centre
                own[y + 2, x + 2, colour] = residual(distance, inverse)
                rest = distance_from(distance, shift, inverse)
                errors[y + 1, x + 1, colour] = min(abs(rest), RESIDUAL_LIMIT)
                gradient, stretch = likelihood_slope(rest, step, table, factors)
                linear_seen[colour, kind] += 1
                learn_shift(features, count, linear[colour, kind], gradient, linear_seen[colour, kind])
                biases[colour, signs] = learned_bias(biases[colour, signs], gradient)
                steps_seen[colour, kind, energy] += 1
                steps[colour, kind, energy] = learned_step(steps[colour, kind, energy], stretch, steps_seen[colour, kind, energy])
                maps_seen[colour, kind] += 1
                learn_map(edges, low, high, maps_seen[colour, kind])
            if colours == 1:
                pixels[y, x, _RED] = pixels[y, x, _GREEN]
                pixels[y, x, _BLUE] = pixels[y, x, _GREEN]


def push_pixels(head, words, size, pixels, *strip):
    """(head, size) after pushing a phase's pixels. The message must have room for all of them."""
    intervals = []
    _walk(Encoder(intervals), pixels, *strip)
    for start, freq in reversed(intervals):
        head, size = push_one(head, words, size, np.int64(start), np.int64(freq), PRECISION)
    return head, size


def pop_pixels(head, words, size, pixels, *strip):
    """(head, size) after popping a phase's pixels into ``pixels``; size -1 when the message ran dry. Inverse: push_pixels."""
    decoder = Decoder(head, words, size)
    try:
        _walk(decoder, pixels, *strip)
    except RanDry:
        return decoder.head, -1
    return decoder.head, decoder.size


def residuals(pixels, references, params, colours, tables):
    """The residuals of a known phase, colours in coding order: (h, w, 3) int16."""
    out = np.zeros(pixels.shape, np.int16)
    _, exponentials, _, spreads, *_ = tables
    k = params.shape[2] // 12
    logits, means, indices = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    weights, rests = np.empty(k, np.int64), np.zeros(3, np.int64)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            for colour in range(colours):
                symbol = np.int64(pixels[y, x, _channel(colour)])
                reference = np.int64(references[y, x, _channel(colour)])
                fill_mixture(params[y, x], reference, 3, colour, rests[0], rests[1], logits, means, indices, weights, exponentials)
                centre, spread = describe(means, indices, weights, spreads)
                out[y, x, colour] = residual(64 * symbol - centre, (1 << 30) // spread)
                rests[colour] = 4 * symbol - reference
    return out
