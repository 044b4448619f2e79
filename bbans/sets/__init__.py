"""Archives: many images in one file. `pack` writes them, `open_archive` reads them.

::

    pack            folder, tar, array, idx file -source-> groups -plan-> codec, chunk size -writer-> bodies, index -> file
    open_archive    file -archive.read_head-> index -group-> bodies -methods-> images

Of an array, samples, shape and dtype come back. Of a folder, all names come back, and of each picture what `bbans.compress` keeps:
its pixels and metadata, or every byte; of other files every byte. Symbolic links stay links, and times come back. Modes and empty
folders are not kept.

>>> import io
>>> import numpy as np
>>> images = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
>>> file = io.BytesIO()
>>> packed = pack(images, file, mode="stored", chunk=2)
>>> packed.file_bytes == len(file.getvalue()), packed.archive.groups[0].method.name
(True, 'LZMA')
>>> with open_archive(file) as archived:
...     len(archived), archived[3].shape, bool((archived[:] == images).all())
(5, (6, 7), True)
"""

from bbans.formats.archive import Lost

from .model import SetModel
from .reader import ArchiveReader, open_archive
from .sequence import Image
from .writer import Packed, pack

__all__ = ["ArchiveReader", "Image", "Lost", "Packed", "SetModel", "open_archive", "pack"]
