"""The table: every data set by every codec, as rows (see rows.py) in JSON.

Rows of our models have where their bits are, and what the model could code the images in: bits of Monte Carlo draws, without the
coder. A codec that failed, or did not give back what it was given, has an error in place of figures.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bbans import models
from bbans.models.registry import family_of

from . import datasets, machine, rows
from .craystack import BATCHES, CraystackJob
from .datasets import DataSet, MissingDataError
from .jobs import ARCHIVE, EACH, SHEET, Job, PeerJob, measure
from .ours import ArchiveJob, PhotoJob
from .peers import MissingPeersError, library, peers
from .rows import SCATTER, Row, Scatter
from .theory import CHAIN_IMAGES, Theory

EACH_IMAGES = 100
"""Images that are coded as archives of their own."""
MCBITS_IMAGES = 1000
"""Images for Monte Carlo schemes: K particles cost K times the work."""
MCBITS_PARTICLES = (1, 2, 5, 10, 50)
SIZES, SPEEDS, ALL = "sizes", "speeds", "all"


@dataclass(frozen=True)
class Options:
    """What to measure.

    `images`: only the first; `codecs`: patterns of names of peers; `layouts`: patterns of layouts (see jobs.py) of all codecs;
    `models`: ids or weight files, none for all that are installed; `particles`: of the Monte Carlo schemes; `quick`: without peers
    that are slow, and the default layout alone; `parts`: SIZES without speeds, SPEEDS without bounds, or ALL.
    """

    threads: int
    images: int | None = None
    rounds: int = 1
    draws: int = 10
    codecs: tuple[str, ...] = ("*",)
    layouts: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ()
    particles: tuple[int, ...] = ()
    quick: bool = False
    parts: str = ALL


@dataclass
class Results:
    """Rows, and what the plots of single images need."""

    rows: list[Row] = field(default_factory=list)
    scatters: list[Scatter] = field(default_factory=list)


def table(names: Sequence[str], data: Path | None, options: Options, say: Callable[[str], None]) -> Iterator[Results]:
    """The results of each data set that is there, in order; of the others it is said how to get them."""
    for name in names:
        try:
            loaded = datasets.load(name, data).first(options.images)
        except MissingDataError as error:
            say(str(error))
        else:
            yield measure_set(loaded, options, say)


def measure_set(data: DataSet, options: Options, say: Callable[[str], None]) -> Results:
    """The results of one data set."""
    stamp = machine.stamp()
    with tempfile.TemporaryDirectory() as folder:
        ours = [(job, id) for job, id in our_jobs(data, Path(folder), options, say) if matches(job.task.layout, options.layouts)]
        others = [job for job in peer_jobs(data, options, say) if matches(job.task.layout, options.layouts)]
        say(f"{data.title}: {len(data.images)} images, {data.dims} sub-pixels, {len(others) + len(ours)} rows")
        measured = measure(data, [*others, *(job for job, _ in ours)], stamp, options.rounds, say)
    if options.parts == SIZES:
        measured = [replace(row, speed=None) for row in measured]
    if options.parts == SPEEDS:
        return Results(measured)
    return with_bounds(measured, {job.task.model: model for job, model in ours}, Theory(data, options.draws, options.particles))


def with_bounds(measured: Sequence[Row], model_of: Mapping[str | None, str], theory: Theory) -> Results:
    """The same rows, with what our models could code the images in. `model_of`: the weight file, or id, of each id."""
    results = Results()
    for row in measured:
        model = model_of.get(row.model)
        if model is None or row.bytes is None:
            results.rows.append(row)
            continue
        results.rows.append(replace(row, bound=theory.bound(row, model)))
        if row.trained_for_it and theory.data.is_set and row.layout == ARCHIVE and row.images > CHAIN_IMAGES:
            results.scatters.append(theory.scatter(model, row.scheme, row.images))
    return results


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether any of the patterns of fnmatch is that of the name."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def peer_jobs(data: DataSet, options: Options, say: Callable[[str], None]) -> list[Job]:
    """Other codecs, each image alone and, for sets, as one contact sheet."""
    try:
        library()
    except MissingPeersError as error:
        say(str(error))
        return []
    jobs: list[Job] = []
    for layout in (EACH, SHEET) if data.is_set else (EACH,):
        for peer in peers(min(image.shape[-1] for image in data.images), data.symbols):
            if (options.quick and peer.slow) or not matches(peer.name, options.codecs):
                continue
            try:
                jobs.append(PeerJob(peer, data, layout, options.threads))
            except ImportError as error:
                say(f"{peer.name} is left out: {error}")
    return jobs


def our_jobs(data: DataSet, folder: Path, options: Options, say: Callable[[str], None]) -> list[tuple[Job, str]]:
    """Our codecs, each with its model (id or weight file); and craystack's on the models that it can code."""
    chosen = {model: models.read(model) for model in options.models or models.installed()}
    if not data.is_set:
        photo = [id for id, weights in chosen.items() if family_of(weights).any_size]
        return [(PhotoJob(data, id, options.threads), id) for id in photo]
    jobs: list[tuple[Job, str]] = []
    for id, weights in chosen.items():
        if not weights.takes(data.images[0].shape, data.symbols):
            continue
        own, *others = family_of(weights).schemes(weights, options.particles)
        jobs.append((ArchiveJob(data, folder, id, own, threads=options.threads), id))
        if options.quick:
            continue
        jobs.append((ArchiveJob(data, folder, id, own, chunk=len(data.images), threads=options.threads), id))
        jobs.append((ArchiveJob(data.first(EACH_IMAGES), folder, id, own, threads=options.threads, each=True), id))
        for scheme in others:
            part = data.first(MCBITS_IMAGES) if scheme.startswith("mcbits") else data
            jobs.append((ArchiveJob(part, folder, id, scheme, chunk=len(part.images), threads=options.threads), id))
        if own == "bb-ans" and data.images[0].shape[2] == 1 and data.trained(weights.id):
            jobs += [(job, id) for job in beside_craystack(data, folder, id, options, say)]
    return jobs


def beside_craystack(data: DataSet, folder: Path, model: str, options: Options, say: Callable[[str], None]) -> list[Job]:
    """craystack's BB-ANS, and ours on one thread as well; none where craystack is missing or not asked for."""
    try:
        theirs = [CraystackJob(data, model, batch) for batch in BATCHES if not len(data.images) % batch]
    except ImportError as error:
        say(f"craystack's own BB-ANS is left out ({error})")
        return []
    chosen = [job for job in theirs if matches(job.task.codec, options.codecs)]
    return [*chosen, ArchiveJob(data, folder, model, "bb-ans", chunk=len(data.images), threads=1)] if chosen else []


def write(results: Results, folder: Path, allow_dirty: bool = False) -> list[Path]:
    """Write one table a data set, and one file a scatter. Raises: DirtyTreeError."""
    written = rows.write(results.rows, folder, allow_dirty)
    for scatter in results.scatters:
        written.append(folder / f"{SCATTER}{scatter.dataset}-{scatter.model}-{scatter.scheme}.json")
        rows.dump(written[-1], rows.to_json(scatter))
    return written
