"""A TIFF whose strips are compressed, or that has tiles: its samples, and what gives the file again, byte for byte.

::

    file = before | strip | gap | strip | ... | after              gaps are empty, most often
    metadata = u8 order, plus 8 | u8 coder, level | u8 predictor | digest, 8 bytes | varint rows in a strip
               | [varint width of a tile] | varint length of before | { varint size of a strip | varint size of the gap after it }*
               | before, gaps, after

Tiles, one below another, are a picture whose strips they are.

LZW and PackBits have one encoder that nearly all programs use, libtiff, which Pillow has too; deflate is zlib's or libdeflate's,
with some level. They are tried on the strips. A file that none of them gives is refused. Where this machine's libraries give other
bytes than those that were compressed, the same pixels and tags are written without compression: the strips at the end, and holes
of zeros where they were.

Source: Adobe, TIFF Revision 6.0, sections 9 (PackBits), 13 (LZW), 14 (predictor); Adobe Photoshop TIFF Technical Notes (deflate).
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats.wire import CHECK_BYTES, ByteReader, pack_varint
from bbans.images import tiff
from bbans.images.pillow import check_size
from bbans.images.raster import LITTLE_ENDIAN, MAX_AROUND_BYTES, Raster
from bbans.images.rows import Bytes, Samples, pack, unpack
from bbans.images.tiles import Tiling, cut, joined

PACKED = 8
"""Of an order: the metadata is of this module: strips are compressed, or there are tiles."""
_TILES = 16
"""Of an order: there are tiles."""
_FROM_BEFORE = 32
"""Of an order: what fills up a tile is not zeros, but what the tile before has there."""

_PLAIN, _ZLIB, _LIBDEFLATE, _LZW, _PACKBITS = range(5)
_LEVELS = (6, 9, 1, 2, 3, 4, 5, 7, 8)
"""Of zlib and libdeflate; the usual ones first."""
_CODERS = {1: (_PLAIN,), 8: (_ZLIB, _LIBDEFLATE), 32946: (_ZLIB, _LIBDEFLATE), 5: (_LZW,), 32773: (_PACKBITS,)}
"""By the tag of the compression; tiles may be without."""
_PILLOW = {_LZW: "tiff_lzw", _PACKBITS: "packbits"}

_MAX_STRIPS = 1 << 16
_SPARE_BYTES = 1 << 10
"""By which a compressed strip may be larger than twice its rows."""


@dataclass(frozen=True)
class Recipe:
    """How a file is made of its samples."""

    order: int
    coder: int
    level: int
    predictor: int
    digest: bytes
    rows: int
    """In a strip or a tile."""
    tiling: Tiling | None
    sizes: tuple[int, ...]
    """Of the strips that were compressed."""
    gaps: tuple[bytes, ...]
    """Before the first strip, after each but the last, and after the last."""


def read(data: bytes, max_pixels: int) -> tuple[Samples, int, bytes]:
    """Samples (H, W, C), their bits and metadata of the first page. Inverse: `write`.

    Raises: UnsupportedImageError: broken, of another kind, or of strips that no encoder gives again.
    """
    page = tiff.parse(data)
    raster, offsets, sizes = tiff.layout(page)
    coders, predictor = _CODERS.get(page.one(tiff.COMPRESSION), ()), page.one(tiff.PREDICTOR)
    if page.tiled and coders == (_PLAIN,):
        predictor = 1  # of no meaning there
    check_size(raster.width, raster.height, max_pixels)
    tiling = Tiling(page.one(tiff.TILE_ROWS), page.one(tiff.TILE_WIDTH)) if page.tiled else None
    strips_raster, rows = _strips_raster(raster, tiling), page.tags.get(tiff.ROWS, (raster.height,))[0]
    rows = tiling.rows if tiling else min(rows, raster.height)
    ends = [start + size for start, size in zip(offsets, sizes, strict=True)]
    if (
        not coders
        or (coders == (_PLAIN,) and not tiling)
        or predictor not in (1, 2)
        or (predictor == 2 and raster.bit_depth < 8)
        or not 0 < len(sizes) <= _MAX_STRIPS
        or rows < 1
        or len(sizes) != -(-strips_raster.height // rows)
        or any(end > start for end, start in zip(ends, [*offsets[1:], len(data)], strict=True))
        or len(data) - sum(sizes) > MAX_AROUND_BYTES + sum(sizes) // 4
    ):
        raise UnsupportedImageError("TIFF with this compression is not supported")
    strips = [data[start:end] for start, end in zip(offsets, ends, strict=True)]
    filtered = np.empty((strips_raster.height, strips_raster.row_bytes), np.uint8)
    for top, strip in zip(range(0, len(filtered), rows), strips, strict=True):
        part = filtered[top : top + rows]
        part[:] = np.frombuffer(_decoded(coders[0], strip, part.size), np.uint8).reshape(part.shape)
    for coder in coders:
        for level in _LEVELS if coder in (_ZLIB, _LIBDEFLATE) else (0,):
            if _gives(coder, level, filtered, rows, strips):
                gaps = [data[end:start] for end, start in zip([0, *ends], [*offsets, len(data)], strict=True)]
                samples, tiling = _picture(filtered, raster, tiling, predictor)
                order = raster.order | PACKED | (_TILES if tiling else 0) | (_FROM_BEFORE if tiling and tiling.from_before else 0)
                recipe = Recipe(order, coder, level, predictor, file_digest(data), rows, tiling, tuple(sizes), tuple(gaps))
                return samples, raster.bit_depth, _pack(recipe)
    raise UnsupportedImageError("TIFF by an encoder that is not known is not supported (its bytes would be lost)")


def write(samples: Samples, metadata: bytes, bit_depth: int) -> bytes:
    """The file of `samples` (H, W, C): the inverse of `read`, byte for byte where `is_source` says so.

    Raises: CorruptDataError: the metadata is not that of such a file.
    """
    height, width, channels = samples.shape
    recipe = _unpack(metadata, height, width)
    raster = Raster(height, width, channels, bit_depth, len(recipe.gaps[0]), recipe.order & LITTLE_ENDIAN)
    filtered = _strips(samples, raster, recipe.tiling, recipe.predictor)
    file = _joined(recipe.gaps, list(_encoded(recipe.coder, recipe.level, filtered, recipe.rows)))
    if file_digest(file) == recipe.digest:
        return file
    if recipe.coder == _PLAIN:
        raise CorruptDataError("the metadata is that of another picture")
    return _without_compression(recipe, raster, samples)


def is_source(file: bytes, metadata: bytes) -> bool:
    """Whether a file that was written is the one that was read."""
    return file_digest(file) == metadata[3 : 3 + CHECK_BYTES]


def file_digest(data: bytes) -> bytes:
    """BLAKE2b of a file, 8 bytes."""
    return hashlib.blake2b(data, digest_size=CHECK_BYTES).digest()


def _pack(recipe: Recipe) -> bytes:
    """Metadata of a recipe. Inverse: `_unpack`."""
    head = bytes([recipe.order, recipe.coder << 4 | recipe.level, recipe.predictor]) + recipe.digest + pack_varint(recipe.rows)
    if recipe.tiling:
        head += pack_varint(recipe.tiling.width)
    lengths = [pack_varint(len(recipe.gaps[0]))]
    for size, gap in zip(recipe.sizes, [*recipe.gaps[1:-1], b""], strict=True):
        lengths += [pack_varint(size), pack_varint(len(gap))]
    return b"".join([head, *lengths, *recipe.gaps])


def _unpack(metadata: bytes, height: int, width: int) -> Recipe:
    """The recipe in metadata, of a picture of that size. Inverse: `_pack`. Raises: CorruptDataError."""
    reader = ByteReader(metadata, "metadata")
    order, coder, predictor, digest, rows = reader.byte(), reader.byte(), reader.byte(), reader.take(CHECK_BYTES), reader.varint()
    tiling = Tiling(rows, reader.varint(), bool(order & _FROM_BEFORE)) if order & _TILES else None
    count = tiling.count(height, width) if tiling else -(-height // rows) if rows else 0
    lengths, sizes = [reader.varint()], []
    if not 0 < count <= _MAX_STRIPS:
        raise CorruptDataError("the metadata is damaged: too many strips")
    for _ in range(count):
        sizes.append(reader.varint())
        lengths.append(reader.varint())
    gaps = [*map(reader.take, lengths[:-1])]
    gaps.append(reader.take(len(metadata) - reader.position))
    level = coder & 15
    coders = (_LZW, _PACKBITS, _PLAIN) if tiling else (_LZW, _PACKBITS)
    possible = level in _LEVELS if coder >> 4 in (_ZLIB, _LIBDEFLATE) else coder >> 4 in coders and not level
    known = PACKED | LITTLE_ENDIAN | (_TILES | _FROM_BEFORE if tiling else 0)
    if not possible or lengths[-1] or order & ~known or predictor not in (1, 2):
        raise CorruptDataError("the metadata is damaged: there is no such coder of strips")
    return Recipe(order, coder >> 4, level, predictor, digest, rows, tiling, tuple(sizes), tuple(gaps))


def _joined(gaps: tuple[bytes, ...], strips: list[bytes]) -> bytes:
    return b"".join([gaps[0], *(part for pair in zip(strips, gaps[1:], strict=True) for part in pair)])


def _decoded(coder: int, strip: bytes, size: int) -> bytes:
    """The bytes of a strip. Raises: UnsupportedImageError: broken, or not of that size."""
    try:
        if coder == _PLAIN:
            out = strip
        elif coder == _ZLIB:
            inflate = zlib.decompressobj()
            out = inflate.decompress(strip, size + 1)
        else:
            import imagecodecs

            decode: Any = imagecodecs.lzw_decode if coder == _LZW else imagecodecs.packbits_decode
            out = bytes(decode(strip, out=size))
    except (RuntimeError, ValueError, zlib.error) as error:
        raise UnsupportedImageError(f"the TIFF is broken: a strip cannot be decoded ({error})") from error
    except ImportError as error:
        raise UnsupportedImageError(f"TIFF with compression needs the package imagecodecs ({error})") from error
    if len(out) != size:
        raise UnsupportedImageError(f"the TIFF is broken: a strip has {len(out)} bytes, not {size}")
    return out


def _gives(coder: int, level: int, filtered: Bytes, rows: int, strips: list[bytes]) -> bool:
    """Whether a coder gives these strips; the first one is tried alone."""
    try:
        first = next(_encoded(coder, level, filtered[:rows], rows))
        return first == strips[0] and list(_encoded(coder, level, filtered, rows)) == strips
    except CorruptDataError:
        return False


def _encoded(coder: int, level: int, filtered: Bytes, rows: int) -> Iterator[bytes]:
    """The strips of filtered rows (H, B). Inverse: `_decoded`. Raises: CorruptDataError: a library does not do it."""
    if coder in (_LZW, _PACKBITS):
        file = io.BytesIO()
        try:
            Image.fromarray(filtered).save(file, "TIFF", compression=_PILLOW[coder], tiffinfo={tiff.ROWS: rows})
            page = tiff.parse(file.getvalue())
        except (OSError, ValueError, RuntimeError, UnsupportedImageError) as error:
            raise CorruptDataError(f"libtiff cannot write the strips: {error}") from error
        for start, size in zip(page.tags[tiff.OFFSETS], page.tags[tiff.SIZES], strict=True):
            yield file.getvalue()[start : start + size]
        return
    for top in range(0, len(filtered), rows):
        strip = filtered[top : top + rows].tobytes()
        if coder == _PLAIN:
            yield strip
        elif coder == _ZLIB:
            yield zlib.compress(strip, level)
        else:
            try:
                from imagecodecs import deflate_encode
            except ImportError as error:
                raise CorruptDataError(f"TIFF with compression needs the package imagecodecs ({error})") from error
            yield bytes(deflate_encode(strip, level=level, raw=False))


def _strips_raster(raster: Raster, tiling: Tiling | None) -> Raster:
    """The raster of all strips. Raises: UnsupportedImageError: the tiles are not those of a picture."""
    if tiling is None:
        return raster
    count = tiling.count(raster.height, raster.width)
    if not 0 < count <= _MAX_STRIPS:
        raise UnsupportedImageError("TIFF with tiles of this size is not supported")
    return replace(raster, height=count * tiling.rows, width=tiling.width)


def _strips(samples: Samples, raster: Raster, tiling: Tiling | None, predictor: int) -> Bytes:
    """The rows (N, B) of all strips of samples (H, W, C). Inverse: `_picture`."""
    if tiling is None:
        return _predicted(samples, raster, predictor)
    all_tiles = _strips_raster(raster, tiling)
    filtered = np.empty((all_tiles.height, all_tiles.row_bytes), np.uint8)
    for top, tile in zip(range(0, len(filtered), tiling.rows), cut(samples, tiling), strict=True):
        filtered[top : top + tiling.rows] = _predicted(tile, all_tiles, predictor)
    return filtered


def _picture(filtered: Bytes, raster: Raster, tiling: Tiling | None, predictor: int) -> tuple[Samples, Tiling | None]:
    """The samples (H, W, C) of the rows of all strips, and how tiles are filled up. Inverse: `_strips`.

    Raises: UnsupportedImageError: bits that are beside the picture would be lost.
    """
    samples = _unpredicted(filtered, _strips_raster(raster, tiling), predictor)
    ways: list[Tiling | None] = [None]
    if tiling:
        samples = joined(samples, tiling, raster.height, raster.width)
        ways = [tiling, replace(tiling, from_before=True)]
    for way in ways:
        if np.array_equal(_strips(samples, raster, way, predictor), filtered):
            return samples, way
    raise UnsupportedImageError("TIFF is not supported (bits beside its picture would be lost)")


def _predicted(samples: Samples, raster: Raster, predictor: int) -> Bytes:
    """The rows (H, B) of samples (H, W, C), each pixel less the one at its left. Inverse: `_unpredicted`."""
    if predictor == 2:
        left = np.zeros_like(samples)
        left[:, 1:] = samples[:, :-1]
        samples = samples - left
    return _swapped(pack(samples, raster.bit_depth), raster)


def _unpredicted(filtered: Bytes, raster: Raster, predictor: int) -> Samples:
    """The samples (H, W, C) of rows (H, B). Inverse: `_predicted`."""
    samples = unpack(_swapped(filtered, raster), raster.width, raster.channels, raster.bit_depth)
    if predictor == 2:
        summed: Samples = np.cumsum(samples, axis=1, dtype=samples.dtype)  # type: ignore[assignment]
        return summed
    return samples


def _swapped(rows: Bytes, raster: Raster) -> Bytes:
    if not raster.order & LITTLE_ENDIAN or raster.bit_depth != 16:
        return rows
    return np.ascontiguousarray(rows.reshape(len(rows), -1, 2)[:, :, ::-1]).reshape(len(rows), -1)


def _without_compression(recipe: Recipe, raster: Raster, samples: Samples) -> bytes:
    """A TIFF of the same samples and tags, with plain strips at its end. Raises: CorruptDataError."""
    strips_raster = _strips_raster(raster, recipe.tiling)
    strip_bytes = strips_raster.row_bytes * min(recipe.rows, strips_raster.height)
    if max(recipe.sizes) > 2 * strip_bytes + _SPARE_BYTES:
        raise CorruptDataError("the metadata is damaged: strips that are too large")
    file = bytearray(_joined(recipe.gaps, [bytes(size) for size in recipe.sizes]))
    try:
        page = tiff.parse(bytes(file))
        rows = _strips(samples, raster, recipe.tiling, 1).tobytes()
        starts = range(0, len(rows), strip_bytes)
        places = (tiff.TILE_OFFSETS, tiff.TILE_SIZES) if recipe.tiling else (tiff.OFFSETS, tiff.SIZES)
        changes = {
            tiff.COMPRESSION: [1],
            places[0]: [len(file) + start for start in starts],
            places[1]: [min(strip_bytes, len(rows) - start) for start in starts],
        } | ({tiff.PREDICTOR: [1]} if tiff.PREDICTOR in page.tags else {})
        for tag, values in changes.items():
            place, spelling = page.places[tag]
            struct.pack_into(spelling, file, place, *values)
        found = replace(raster, start=len(file))
        file += rows
        if not _is_plain(bytes(file), found, recipe.tiling):
            raise CorruptDataError("the metadata is that of another picture")
    except (struct.error, KeyError, UnsupportedImageError) as error:
        raise CorruptDataError(f"the metadata is not that of a TIFF: {error}") from error
    return bytes(file)


def _is_plain(file: bytes, raster: Raster, tiling: Tiling | None) -> bool:
    """Whether a TIFF has that raster, or tiles of that size, without compression. Raises: UnsupportedImageError."""
    if tiling is None:
        return tiff.locate(file) == raster
    page = tiff.parse(file)
    size = page.one(tiff.TILE_ROWS), page.one(tiff.TILE_WIDTH)
    return tiff.layout(page)[0] == raster and size == (tiling.rows, tiling.width) and page.one(tiff.COMPRESSION) == 1
