"""The table: every data set by every codec, as rows of JSON.

A row has dataset, title, codec, model, scheme, layout (see jobs.py), images, dims, bytes, bits_per_dim, neg_elbo_bits_per_dim,
encode_s, decode_s, images_per_s, decode_images_per_s, encode_mib, decode_mib (how far memory rose), threads, rounds, verified, and
machine, versions, commit, date. Rows of our models have as well:

- start_up_s, start_up_decode_s: of a fresh process, not part of the seconds above;
- likelihood_bits, prior_bits, posterior_bits, initial_bits: the accounting that the file carries; chunk, chunks, header_bytes;
- neg_elbo_error (standard error) and overhead: bits_per_dim / neg_elbo_bits_per_dim - 1, initial bits included; net_bits_per_dim:
  without them. For K particles bound_bits_per_dim is the IWAE-K bound, and overhead is beyond that;
- kind: ``pure VAE`` (factorised likelihood) or ``with pixel context``.

A codec that failed, or did not give back what it was given, has `error` in place of figures.
"""

from __future__ import annotations

import datetime
import fnmatch
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbans import models
from bbans.models.weights import PHOTO, Weights

from . import datasets, machine
from .craystack import CraystackJob
from .datasets import DataSet, MissingDataError
from .jobs import ARCHIVE, EACH, SHEET, Job, PeerJob, measure
from .ours import ArchiveJob, PhotoJob
from .peers import MissingPeersError, peers
from .theory import CHAIN_IMAGES, Theory

KEY = ("dataset", "codec", "model", "scheme", "layout", "images", "threads")
EACH_IMAGES = 100
"""Images that are coded as archives of their own."""
MCBITS_IMAGES = 1000
"""Images for Monte Carlo schemes: K particles cost K times the work."""
MCBITS_PARTICLES = (1, 2, 5, 10, 50)
CRAYSTACK_IMAGES = {2: 10_000, 256: 500}
"""Images for craystack's BB-ANS, by symbols: its mixtures make a table of 256 intervals for every pixel."""
PREFIX, SCATTER = "table-", "scatter-"

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to measure.

    ``images``: only the first; ``codecs``: patterns of names of peers; ``models``: ids or weight files, none for all that are
    installed; ``particles``: of the Monte Carlo schemes; ``quick``: without peers that are slow, and the default layout alone.
    """

    threads: int
    images: int | None = None
    rounds: int = 1
    draws: int = 10
    codecs: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ()
    particles: tuple[int, ...] = ()
    quick: bool = False


@dataclass
class Results:
    """Rows, and what the plots of single images need."""

    rows: list[Row] = field(default_factory=list)
    scatters: list[dict[str, Any]] = field(default_factory=list)


def table(names: Sequence[str], data: Path | None, options: Options, say: Callable[[str], None]) -> Iterator[Results]:
    """The results of each data set that is there, in order; of the others it is said how to get them."""
    for name in names:
        try:
            found = datasets.load(name, data).first(options.images)
        except MissingDataError as error:
            say(str(error))
        else:
            yield measure_set(found, options, say)


def measure_set(data: DataSet, options: Options, say: Callable[[str], None]) -> Results:
    """The results of one data set."""
    stamp = {**machine.about(), "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()}
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        ours = our_jobs(data, Path(folder), options, say)
        others = peer_jobs(data, options, say)
        say(f"{data.title}: {len(data.images)} images, {data.dims} sub-pixels, {len(others) + len(ours)} rows")
        rows = measure([*others, *(job for job, _ in ours)], options.rounds, say)
    theory = Theory(data, options.draws, max(options.particles, default=1))
    for row, model in zip(rows, [None] * len(others) + [model for _, model in ours], strict=True):
        row = {"dataset": data.name, "title": data.title, **row, **stamp}
        if model is not None and row["verified"]:
            row |= theory.fields(row, model)
            if data.is_set and row["layout"] == ARCHIVE and row["images"] > CHAIN_IMAGES:
                results.scatters.append(theory.scatter(model, row["scheme"], row["images"]))
        results.rows.append(row)
    return results


def peer_jobs(data: DataSet, options: Options, say: Callable[[str], None]) -> list[Job]:
    """Other codecs, each image alone and, for sets, as one contact sheet."""
    colours = min(image.shape[-1] for image in data.images)
    try:
        found = peers(colours, data.symbols)
    except MissingPeersError as error:
        say(str(error))
        return []
    chosen = [
        peer
        for peer in found
        if any(fnmatch.fnmatch(peer.name, pattern) for pattern in options.codecs) and not (options.quick and peer.slow)
    ]
    layouts = (EACH, SHEET) if data.is_set else (EACH,)
    return [PeerJob(peer, data, layout, options.threads) for layout in layouts for peer in chosen]


def our_jobs(data: DataSet, folder: Path, options: Options, say: Callable[[str], None]) -> list[tuple[Job, str]]:
    """Our codecs, each with its model (id or weight file); and craystack's on the models that it can code."""
    chosen = {model: models.read(model) for model in options.models or models.installed()}
    if not data.is_set:
        photo = [id for id, weights in chosen.items() if weights.architecture == PHOTO]
        return [(PhotoJob(data, id, options.threads), id) for id in photo]
    shape = data.images[0].shape
    found: list[tuple[Job, str]] = []
    for id, weights in chosen.items():
        if not weights.takes(shape, data.symbols):
            continue
        own, *others = schemes(weights, options.particles)
        found.append((ArchiveJob(data, folder, id, own, threads=options.threads), id))
        if options.quick:
            continue
        found.append((ArchiveJob(data, folder, id, own, chunk=len(data.images), threads=options.threads), id))
        found.append((ArchiveJob(data.first(EACH_IMAGES), folder, id, own, threads=options.threads, each=True), id))
        for scheme in others:
            part = data.first(MCBITS_IMAGES) if scheme.startswith("mcbits") else data
            found.append((ArchiveJob(part, folder, id, scheme, chunk=len(part.images), threads=options.threads), id))
        if own == "bb-ans" and shape[2] == 1:
            found += [(job, id) for job in beside_craystack(data.first(CRAYSTACK_IMAGES[data.symbols]), folder, id, say)]
    return found


def beside_craystack(data: DataSet, folder: Path, model: str, say: Callable[[str], None]) -> list[Job]:
    """craystack's BB-ANS, and ours on as many images and on one thread as well; none where craystack is missing."""
    try:
        theirs = CraystackJob(data, model)
    except ImportError as error:
        say(f"craystack's own BB-ANS is left out, its published figure stands in the table ({error})")
        return []
    return [theirs, ArchiveJob(data.first(theirs.images), folder, model, "bb-ans", chunk=theirs.images, threads=1)]


def schemes(weights: Weights, particles: Sequence[int] = ()) -> list[str]:
    """The bits-back schemes for a model, its own first (see bbans.models.schemes)."""
    if weights.architecture != "markov":
        return ["top-down"]
    if len(weights.config["latents"]) > 1:
        return ["bit-swap", "bb-ans"]
    return ["bb-ans", *(f"mcbits-{coupled}{k}" for coupled in ("", "coupled-") for k in particles)]


def write(results: Results, folder: Path) -> list[Path]:
    """Write one table a data set, and one file a scatter. Rows of what was measured again take the place of older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(row["dataset"] for row in results.rows):
        path = folder / f"{PREFIX}{name}.json"
        kept = {key_of(row): row for row in read(path)} | {key_of(row): row for row in results.rows if row["dataset"] == name}
        lines = ",\n ".join(json.dumps(row, allow_nan=False) for row in kept.values())
        path.write_text(f"[\n {lines}\n]\n")
        written.append(path)
    for scatter in results.scatters:
        path = folder / f"{SCATTER}{scatter['dataset']}-{scatter['model']}-{scatter['scheme']}.json"
        path.write_text(json.dumps(scatter) + "\n")
        written.append(path)
    return written


def read(path: Path) -> list[Row]:
    """The rows of a table; none where there is no file."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def key_of(row: Row) -> tuple[Any, ...]:
    """What tells rows apart."""
    return tuple(row.get(name) for name in KEY)
