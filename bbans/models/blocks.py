"""Blocks of layers that the training forms of several models are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bbans.exact.qat import QConv


class Residual(nn.Module):
    """x + b(a(x)), two convolutions."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.a, self.b = QConv(width, width, kernel), QConv(width, width, kernel)
        with torch.no_grad():
            self.b.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x), skip=x)  # type: ignore[no-any-return]
