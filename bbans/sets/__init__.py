"""Sets of images in one file: a folder, an array or an idx file -> groups -> chunks -> an archive, and back.

::

    pack            source -source-> groups -plan-> codec, chunk size -writer-> bodies -archive.pack_head-> file
    ArchiveReader   file -archive.read_head-> index, chunk -codec-> samples -> array, or picture files

What comes back: of an array its samples, shape and dtype; of a folder the names, and each file as `bbans.api` keeps it (pixels and
metadata, or byte for byte). Of files that are no pictures, every byte. Modes, times and empty folders are not kept.

>>> import io
>>> import numpy as np
>>> images = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
>>> file = io.BytesIO()
>>> packed = pack(images, file, mode="stored", chunk=2)
>>> packed.file_bytes == len(file.getvalue()), packed.archive.groups[0].method.name
(True, 'LZMA')
>>> reader = ArchiveReader(file)
>>> bool((reader.array() == images).all()), reader.array([3]).shape
(True, (1, 6, 7))
"""

from .model import SetModel
from .reader import ArchiveReader, Image, Lost, open_archive
from .writer import Packed, pack

__all__ = ["ArchiveReader", "Image", "Lost", "Packed", "SetModel", "open_archive", "pack"]
