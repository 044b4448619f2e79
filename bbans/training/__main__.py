"""``python -m bbans.training`` is ``vaezip train``: a module for torchrun to start.

``torchrun --nproc-per-node 2 -m bbans.training PHOTOS --out model.safetensors``
"""

from __future__ import annotations

import sys

from vaezip_cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
