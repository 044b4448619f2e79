"""Records calls of the compiled core as this machine answers them: `python -m tests.cross.record FOLDER` (two files).

They are calls that a whole picture and small archives make while they are coded and decoded, and calls of the rest.
`vectors.bin` has, all as little-endian int64 but for the bytes of arrays:

    how many arrays, and for each the size of an element, how many, bytes
    how many calls, and for each
        the function's number, what it returned, how many arguments, and these as below
        how many arrays there were among the arguments; for each what it held afterwards

An array is its number among the arrays. An argument is `INTEGER` value, `VARIANT` (a number of processor.h: the machine that
replays the call goes through its own), `ARRAY` number or -1, `STRUCTURES` how many, each as how many fields and then these; a
field may also be `EMBEDDED`, a structure without a pointer. `calls.h` has a line for each function, of which replay.c makes its
calls.
"""

from __future__ import annotations

import ctypes
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bbans._core import library

INTEGER, VARIANT, ARRAY, STRUCTURES, EMBEDDED = range(5)
NULL = -1
DATA = Path(__file__).parents[1] / "data" / "golden"
SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "valley.png"

functions: dict[str, tuple[Any, ...]] = {}
"""The types of arguments of every function that the package calls."""
arrays: dict[tuple[int, bytes], int] = {}
calls: dict[tuple[int, ...], None] = {}
"""Each call once, as it is in the file."""

Memory = tuple[int, int, int]  # address, elements, bytes of an element


def array_number(memory: Memory) -> int:
    address, count, size = memory
    return arrays.setdefault((size, ctypes.string_at(address, count * size)), len(arrays))


def lengths_of(made: Any) -> dict[str, tuple[int, int]]:
    """(elements, bytes of an element) of the arrays of a structure."""
    kind = type(made).__name__
    if kind == "Dense":
        return {"weights": (made.inputs * made.outputs, 2), "bias": (made.outputs, 4), "exponents": (made.outputs, 1)}
    if kind == "Likelihood":
        pixels = made.height * made.width
        rows = (3 if made.colours == 1 else 12) * made.components or 1
        return {"outputs": (rows * pixels, 4), "exponents": (rows * pixels, 1), "features": (made.count_features * pixels, 1)}
    return {name: (value.size, value.itemsize) for name, value in made._kept.items() if isinstance(value, np.ndarray)}


class Arguments:
    """The arguments of a call as they are in the file, and where their arrays lie."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.memories: list[Memory] = []

    def add_array(self, address: int | None, count: int, size: int) -> None:
        if not address:
            self.numbers += [ARRAY, NULL]
            return
        self.memories.append((address, count, size))
        self.numbers += [ARRAY, array_number(self.memories[-1])]

    def add_structure(self, made: Any) -> None:
        self.numbers.append(len(made._fields_))
        for name, kind in made._fields_:
            value = getattr(made, name)
            if name == "variant":
                self.numbers.append(VARIANT)
            elif name == "middle":
                self.add_structures((type(made.enter) * made.depth).from_address(value) if value else [])
            elif issubclass(kind, ctypes.Structure):
                self.numbers.append(EMBEDDED)
                self.add_structure(value)
            elif kind is library.Integer:
                self.numbers += [INTEGER, value]
            else:
                self.add_array(value, *lengths_of(made).get(name, (0, 1)))

    def add_structures(self, made: Any) -> None:
        self.numbers += [STRUCTURES, len(made)]
        for one in made:
            self.add_structure(one)

    def add(self, value: Any) -> None:
        if hasattr(value, "_obj"):  # by reference
            self.add_structures([value._obj])
        elif isinstance(value, np.ndarray) or value is None:
            self.add_array(*((None, 0, 1) if value is None else (value.ctypes.data, value.size, value.itemsize)))
        else:
            self.numbers += [INTEGER, int(value)]


def convolution(layer: Any, variant: int, images: int, height: int, width: int, *rest: Any) -> Arguments:
    """Arguments of `convolve`, which takes its arrays by their addresses."""
    x, x_image, x_row, skip, skip_image, skip_row, out, sums = rest
    side, inputs, outputs = layer._obj.side, layer._obj.inputs, layer._obj.outputs
    results = images * height * width * outputs
    ctypes.memset(out or sums, 0, results if out else 4 * results)  # so that the same call is recorded once
    made = Arguments()
    made.add(layer)
    made.numbers.append(VARIANT)
    for size in (images, height, width):
        made.add(size)
    made.add_array(x, (images - 1) * x_image + (height + side - 2) * x_row + (width + side - 1) * inputs, 1)
    made.add(x_image), made.add(x_row)
    made.add_array(skip, (images - 1) * skip_image + (height - 1) * skip_row + width * outputs, 1)
    made.add(skip_image), made.add(skip_row)
    made.add_array(out, results, 1)
    made.add_array(sums, results, 4)
    return made


def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`library.function`, whose functions note what they are called with and what they answer."""

    def recording(name: str, *types: Any) -> Any:
        call, number = function(name, *types), len(functions)
        functions[name] = types

        def answer(*values: Any) -> int:
            if name == "has_convolution":  # each machine has its own answer
                return call(*values)
            made = convolution(*values) if name == "convolve" else Arguments()
            for value in () if name == "convolve" else values:
                made.add(value)
            result: int = call(*values)
            after = [array_number(memory) for memory in made.memories]
            calls[(number, result, len(types), *made.numbers, len(after), *after)] = None
            return result

        return answer

    return recording


def code_everything() -> None:
    """A picture and archives to bytes and back; then what these do not call, and convolutions of all kinds."""
    from PIL import Image

    import bbans
    from bbans import ans, codecs, models, sets
    from bbans.ans import Message
    from bbans.errors import CorruptDataError
    from bbans.images.conversion import CONVERSIONS, convert

    model = bbans.load_model(threads=1)
    calls.clear()  # a model that is loaded checks itself on more than an emulated processor has time for
    arrays.clear()
    with Image.open(SAMPLE) as picture, io.BytesIO() as file, io.BytesIO() as gray, io.BytesIO() as converted:
        crop = picture.convert("RGB").crop((200, 120, 264, 168))
        crop.save(file, "PNG")
        crop.crop((0, 0, 41, 37)).convert("L").save(gray, "PNG")
        for number in CONVERSIONS:
            convert(np.asarray(crop), bytes([number]))
        kept = convert(np.asarray(crop.crop((0, 0, 41, 37))), bytes([1]))
        Image.fromarray(kept).save(converted, "PNG")
        for source in (file, gray, converted):
            coded = model.compress(source.getvalue(), mode="model", verify=False).data
            assert model.decompress(coded).format == "PNG"
        digits = np.asarray(crop.convert("L").resize((56, 28)), np.uint8).reshape(28, 2, 28).swapaxes(0, 1)
    for name, images in (("mnist-1", digits), ("mnist-bits-1", digits >> 7)):
        archive = io.BytesIO()
        sets.pack(np.ascontiguousarray(images), archive, model=name, chunk=2, threads=1)
        with sets.open_archive(archive, threads=1) as opened:
            assert np.array_equal(opened[:], images)
    rng = np.random.default_rng(16)
    for name, scheme in (("binary", "mcbits-3"), ("gray", "bit-swap"), ("colours", "top-down")):
        codec = models.load_set(DATA / f"{name}.safetensors", scheme=scheme, threads=1)
        images = rng.integers(0, codec.symbols, (3, *codec.shape)).astype(np.uint8)
        assert np.array_equal(codec.decode(codec.encode(images, 3).messages, [3]), images)

    pairs = codecs.from_intervals(lambda symbols: (symbols << 7, np.full_like(symbols, 128)), lambda cfs: cfs >> 7, 12, (50,))
    for own in (
        pairs,
        codecs.uniform(rng.integers(1, 1000, 50)),
        codecs.categorical(1 + rng.multinomial(249, [1 / 7] * 7, 50)),
        codecs.bernoulli(rng.integers(-9999, 9999, 50)),
        codecs.logistic(rng.integers(-99, 16500, 50), rng.integers(0, 128, 50), 256),
        codecs.mixture(rng.integers(-99, 16500, (50, 3)), rng.integers(0, 128, (50, 3)), np.tile([9000, 7000, 384], (50, 1)), 256),
    ):
        message, symbol = own.pop(Message.random(rng, 200, lanes=4))
        own.log_freqs(symbol, True)
        own.push(message, symbol)
        ans.push(message, 5, 7, 12)
        try:
            for _ in range(50):
                own.pop(message)
        except CorruptDataError:
            pass
    convolve_everything(rng)


def convolve_everything(rng: np.random.Generator) -> None:
    """Layers whose sizes are and are not multiples of blocks, groups and tiles, with the largest numbers that there are."""
    from bbans._core.convolution import convolve, pack

    for side in (1, 3):
        for inputs in (1, 3, 4, 17, 64):
            for outputs in (1, 16, 31, 48):
                extreme = inputs == 64
                weight = rng.integers(-127, 128, (outputs, inputs, side, side))
                x = rng.integers(0, 128, (2, 5, 21, inputs + 1)).astype(np.uint8)
                if extreme:
                    weight, x = np.where(weight < 0, -127, 127), np.full_like(x, 127)
                exponent = rng.integers(0, 14, outputs).astype(np.int8)
                bias = rng.integers(-(1 << 20), 1 << 20, outputs).astype(np.int32)
                layer = pack(weight.astype(np.int8), bias, exponent)
                x = np.ascontiguousarray(x[..., :inputs])
                for width in (1, 7, 21) if side == 1 else (3, 6, 21):
                    view = x[:, 1:, :width] if width < 21 else x
                    out = convolve(layer, view)
                    convolve(layer, view, out[:, :, ::1])
                    convolve(layer, view, sums=True)


def write(folder: Path) -> None:
    """Record, and write both files. Raises: RuntimeError for a function that was not called."""
    library.function = recorded(library.function)  # type: ignore[assignment]
    code_everything()
    missing = set(functions) - {list(functions)[call[0]] for call in calls} - {"has_convolution"}
    if missing:
        raise RuntimeError(f"no call was recorded of {', '.join(sorted(missing))}")
    with (folder / "vectors.bin").open("wb") as file:
        file.write(struct.pack("<q", len(arrays)))
        for size, data in arrays:
            file.write(struct.pack("<qq", size, len(data) // size) + data)
        file.write(struct.pack("<q", len(calls)))
        for call in calls:
            file.write(struct.pack(f"<{len(call)}q", *call))
    lines = []
    for number, (name, kinds) in enumerate(functions.items()):
        integers = [kind is library.Integer for kind in kinds]
        types = ", ".join("int64_t" if integer else "void *" for integer in integers)
        values = ", ".join(f"a[{i}].{'integer' if integer else 'pointer'}" for i, integer in enumerate(integers))
        lines.append(f"FUNCTION({number}, {name}, ({types}), ({values}))\n")
    (folder / "calls.h").write_text("".join(lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
