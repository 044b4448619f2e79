"""The page's chapters, one idea each, in the order in which to read them."""

from __future__ import annotations

from . import bounds, codes, models, objectives
from .base import Chapter, Figure, Run

CHAPTERS: tuple[Chapter, ...] = (*codes.CHAPTERS, *models.CHAPTERS, *bounds.CHAPTERS, *objectives.CHAPTERS)
BY_NAME = {chapter.name: chapter for chapter in CHAPTERS}

__all__ = ["BY_NAME", "CHAPTERS", "Chapter", "Figure", "Run"]
