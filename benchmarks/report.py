"""Tables and plots from the JSON of results: `python -m benchmarks report [FOLDER]`.

Into FOLDER, benchmarks/results if it is not given, go a page of all rows for each data set, and the plots; for benchmarks/results
what stands between the marks of the project's README and of the model cards as well. Nothing is typed in by hand: see claims.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import click

from . import detail, latents, plots, stages, tables
from .coder import Figures
from .datasets import SOURCES
from .jobs import EACH
from .rows import PREFIX, SCATTER, Row, Scatter, Stamp, from_json, read

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
CARDS = "bbans/models/weights"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
PICTURES = ("kodak", "photos")
JPEG_XL = ("JPEG XL, effort 9", "JPEG XL, effort 10")
"""These and their tuned forms are compared with ours picture by picture."""


def read_tables(folder: Path) -> list[list[Row]]:
    """The rows of every data set that was measured: pictures first, then by the order of datasets.SOURCES."""
    tables = [rows for path in sorted(folder.glob(f"{PREFIX}*.json")) if (rows := read(path))]
    order = [*PICTURES, *SOURCES]
    return sorted(tables, key=lambda rows: order.index(rows[0].dataset) if rows[0].dataset in order else len(order))


def measured_on(rows: Iterable[Row]) -> str:
    """Machines and commits of sizes and of speeds, in words."""
    rows = list(rows)
    speeds = _places(row.speed.stamp for row in rows if row.speed is not None)
    untimed = " Rows without times are still to be timed." if any(row.speed is None and row.error is None for row in rows) else ""
    times = f"; times on {speeds}" if speeds else ""
    return f"Sizes measured at {_commits(row.stamp for row in rows)}{times}.{untimed}"


def _places(stamps: Iterable[Stamp]) -> str:
    by_machine: dict[str, list[Stamp]] = {}
    for stamp in stamps:
        by_machine.setdefault(stamp.machine, []).append(stamp)
    return "; ".join(f"{machine}, at {_commits(stamps)}" for machine, stamps in by_machine.items())


def _commits(stamps: Iterable[Stamp]) -> str:
    return ", ".join(sorted({stamp.commit or "an installation" for stamp in stamps}))


def smaller_by_picture(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """For each form of JPEG XL that has files as ours: its name, on how many pictures it is smaller, and of how many."""
    ours = next((row for row in rows if row.ours and row.files), None)
    if ours is None:
        return []
    others = [row for row in rows if row.codec.startswith(JPEG_XL) and row.layout == EACH and row.files]
    return [(row.codec, sum(a < b for a, b in zip(row.files, ours.files, strict=True)), len(row.files)) for row in others]


def by_picture(rows: Sequence[Row]) -> list[str]:
    """The sentence on single pictures."""
    parts = [f"{codec} on {count} of {total}" for codec, count, total in smaller_by_picture(rows)]
    return [f"Pictures on which JPEG XL is smaller than vaezip: {'; '.join(parts)}."] if parts else []


def page(rows: Sequence[Row], folder: Path) -> str:
    """Everything on one data set."""
    text = [f"# {title_of(rows)}", "", "Written by `python -m benchmarks report` from the JSON beside it.", ""]
    ordered = sorted(rows, key=lambda row: -row.images)
    for images, group in groupby(ordered, key=lambda row: row.images):
        whole = images == ordered[0].images
        text += [] if whole else [f"## The first {images} images", ""]
        text += [*tables.full(list(group), beside=whole), ""]
    starts = dict.fromkeys(start for row in rows if (start := start_up(row)))
    if starts:
        text += [f"Start-up of encoder and decoder, not in the times: {', '.join(starts)}.", ""]
    text += [tables.TIMES, "", measured_on(rows), "", *by_picture(rows), "", *note_of(rows)]
    text += pictures_in_detail(rows, folder)
    for path in drawn(rows, folder):
        text += [f"![{path.stem}]({path.name})", ""]
    return "\n".join(text).rstrip() + "\n"


def note_of(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know, and an empty line."""
    source = SOURCES.get(rows[0].dataset)
    return [source.note, ""] if source is not None and source.note else []


def start_up(row: Row) -> str:
    """Of our codecs, in words."""
    if row.speed is None or not row.speed.start_up_s:
        return ""
    return f"{row.model} {' and '.join(f'{seconds:.1f} s' for seconds in row.speed.start_up_s)}"


def pictures_in_detail(rows: Sequence[Row], folder: Path) -> list[str]:
    """Where the bits of pictures go, what coding costs, how the time is spent, what latents save and what integers cost."""
    name = rows[0].dataset
    ours = next((row for row in rows if row.ours and row.files and row.accounting), None)
    known = detail.read(folder / f"{detail.PREFIX}{name}.json")
    text = []
    if ours is not None and ours.accounting is not None:
        text += ["## Where the bits go", "", *accounting(ours, known), ""]
    if known is not None:
        text += ["## Work", "", *work(known), ""]
    if (parts := stages.read(folder / f"{stages.PREFIX}{name}.json")) is not None:
        text += ["## What each part saves", "", *stages.table(parts), ""]
    ablations = [latents.read(folder / f"{prefix}{name}.json") for prefix in (latents.PREFIX, latents.TRAINED)]
    if tables := [latents_table(ablation) for ablation in ablations if ablation is not None]:
        text += ["## What the latents save", "", *itertools.chain.from_iterable([*lines, ""] for lines in tables)]
    return text


def accounting(ours: Row, known: detail.Detail | None) -> list[str]:
    """The terms of the negative ELBO as they were coded, and the code length that is to be compared with the bound."""
    assert ours.accounting is not None and ours.bits_per_dim is not None
    figures = {
        "-log p(x given z)": ours.accounting.likelihood_bits / ours.dims,
        "-log p(z)": ours.accounting.prior_bits / ours.dims,
        "-log q(z given x), given back": ours.accounting.posterior_bits / ours.dims,
        "initial bits": ours.accounting.initial_bits / ours.dims,
        "file": ours.bits_per_dim,
    }
    if ours.bound is not None:
        figures["negative ELBO of the networks"] = ours.bound.neg_elbo_bits_per_dim
    lines = ["| | bits/dim |", "|---|---:|", *(f"| {name} | {value:.4f} |" for name, value in figures.items())]
    if known is not None and ours.bound is not None:
        beyond = known.bits_per_dim / ours.bound.neg_elbo_bits_per_dim - 1
        lines.append(f"| code length of the networks, without the adaptive stage | {known.bits_per_dim:.4f} |")
        lines.append(f"| which is beyond their negative ELBO by | {100 * beyond:+.3f} % |")
    return lines


def work(known: detail.Detail) -> list[str]:
    """Seconds of a picture in networks and coder, and the price of integers."""
    lines = []
    if known.seconds is not None:
        seconds = known.seconds
        lines += ["| seconds a picture | networks | coder and all else |", "|---|---:|---:|"]
        lines.append(f"| compress | {seconds.encode_network_s:.2f} | {seconds.encode_coder_s:.2f} |")
        lines.append(f"| decompress | {seconds.decode_network_s:.2f} | {seconds.decode_coder_s:.2f} |")
        lines += ["", f"With {known.threads} threads on {_places([known.stamp])}."]
    lines.append(f"The decoder runs {known.macs_per_pixel / 1000:.0f} thousand multiplications a pixel.")
    if known.crops is not None:
        lines.append(
            "The price of integers, as the negative ELBO of centre crops of 256 x 256: "
            f"{known.crops.neg_elbo_float:.4f} without rounding, {known.crops.neg_elbo_quantised:.4f} with it."
        )
    return lines


def latents_table(rates: latents.Latents) -> list[str]:
    """The rates of messages with z, without, and with a deterministic control."""
    models = {"with z": rates.with_z, "without": rates.without, "control: the prior's mode in z's place": rates.control}
    lines = [
        *how_trained(rates.training),
        "",
        "| bits/dim of the messages | | no adaptive stage |",
        "|---|---:|---:|",
    ]
    return lines + [f"| {name} | {r.bits_per_dim:.4f} | {r.without_adaptive_bits_per_dim:.4f} |" for name, r in models.items()]


def how_trained(training: latents.Training | None) -> list[str]:
    """The three models of the table, in words."""
    if training is None:
        return [
            "Heads trained alike but for their latents, on one frozen trunk. That trunk was trained beside z, which flatters z:",
            "trained apart in full, a model without latents was as good (`bbans/models/DECISIONS.md`).",
        ]
    macs = ", ".join(f"{name} {macs / 1000:.1f}" for name, macs in training.macs_per_pixel.items())
    return [
        f"Three small models, each trained from the start: {training.steps} steps of {training.batch} crops of {training.side} x "
        f"{training.side}, the same ones, of {training.pictures} pictures.",
        f"Thousand multiplications a pixel in the decoder: {macs}.",
        *how_far(training),
    ]


def how_far(training: latents.Training) -> list[str]:
    """How far along its curve a training is; nothing where no pictures were held out."""
    if not training.at_end:
        return []
    curves = ", ".join(f"{name} {training.halfway[name]:.3f} to {training.at_end[name]:.3f}" for name in training.at_end)
    return [
        f"The negative ELBO of crops of held-out pictures, from half of the steps to the last: {curves} bits/dim. Models so small "
        "that train so shortly are early on their curves: what z saves here need not hold further on.",
    ]


def drawn(rows: Sequence[Row], folder: Path) -> list[Path]:
    """The plots of a data set that are there."""
    name = rows[0].dataset
    paths = [folder / f"{kind}-{name}.png" for kind in ("pictures", "rate", "bits")]
    return [path for path in (*paths, *(path.with_suffix(".png") for path, _ in scatters(name, folder))) if path.exists()]


def scatters(name: str, folder: Path) -> list[tuple[Path, Scatter]]:
    """Of single images of a data set: the JSON's path and what it holds."""
    loaded = [(path, from_json(Scatter, json.loads(path.read_text()))) for path in sorted(folder.glob(f"{SCATTER}*.json"))]
    return [(path, scatter) for path, scatter in loaded if scatter.dataset == name]


def draw(rows: Sequence[Row], folder: Path) -> None:
    """The plots of a data set; none, said once, without matplotlib."""
    name = rows[0].dataset
    try:
        whole = [row for row in rows if row.error is None and row.speed is not None and row.images == rows_images(rows)]
        if whole:
            plots.rate_against_speed(whole, folder / f"rate-{name}.png")
        if accounted := plots.accounted(rows):
            plots.bits_accounting(accounted, folder / f"bits-{name}.png")
        if smaller_by_picture(rows):
            plots.picture_by_picture(rows, JPEG_XL, folder / f"pictures-{name}.png")
        for path, scatter in scatters(name, folder):
            plots.code_length_against_elbo(scatter, path.with_suffix(".png"))
    except ImportError:
        click.echo("plots are left out: matplotlib is not installed (pip install 'bbans[bench]')", err=True)


def coder_page(folder: Path) -> list[str]:
    """The entropy coder's own table."""
    path = folder / "coder.json"
    if not path.exists():
        return []
    about = json.loads(path.read_text())
    text = ["| coder | codec | lanes | make, ns a symbol | push, ns | pop, ns | bits |", "|---|---|---:|---:|---:|---:|---:|"]
    for row in (from_json(Figures, row) for row in about["rows"]):
        times = " | ".join(f"{ns:.1f}" for ns in (row.make_ns, row.push_ns, row.pop_ns))
        text.append(f"| {row.coder} | {row.codec} | {row.lanes} | {times} | {row.bits:.3f} |")
    return ["## The entropy coder alone, one core", "", *text, "", f"On {_places([from_json(Stamp, about['stamp'])])}.", ""]


def pages(folder: Path) -> dict[Path, str]:
    """All Markdown of a folder of results, by its path."""
    measured = read_tables(folder)
    texts = {folder / f"{rows[0].dataset}.md": page(rows, folder) for rows in measured}
    index = ["# Results", "", "Written by `python -m benchmarks report` from the JSON beside it. All rows, by data set:", ""]
    index += [f"- [{title_of(rows)}]({rows[0].dataset}.md)" for rows in measured]
    texts[folder / "README.md"] = "\n".join([*index, "", *coder_page(folder)]).rstrip() + "\n"
    return texts


def write_folder(folder: Path) -> list[Path]:
    """A page for each data set of a folder of results, and its plots. Returns the pages."""
    for rows in read_tables(folder):
        draw(rows, folder)
    texts = pages(folder)
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def readme_block() -> str:
    """What stands between the marks of the README."""
    text = [*(f"- {line}" for line in tables.LEGEND), "", tables.TIMES, ""]
    relative = RESULTS.relative_to(README.parent).as_posix()
    for rows in read_tables(RESULTS):
        if not (table := tables.brief(rows)):
            continue
        name, title, shown = rows[0].dataset, title_of(rows), tables.for_readme(rows)
        text += [f"### {title}, {shown[0].images} images", "", *table, "", *note_of(rows), *by_picture(rows)]
        if any(row.bound and row.bound.adaptive for row in shown):
            text += ["There is no overhead here: the adaptive stage learns from each picture what the negative ELBO does not know."]
        text += [f"[All rows]({relative}/{name}.md). {weights_of(shown)}{measured_on(shown)}", ""]
        if (RESULTS / f"pictures-{name}.png").exists():
            text += [f"![{title}, picture by picture]({relative}/pictures-{name}.png)", ""]
    return "\n".join(text).rstrip()


def title_of(rows: Sequence[Row]) -> str:
    """Of a data set: as it is called now, or as it was when it was measured."""
    name = rows[0].dataset
    return SOURCES[name].title if name in SOURCES else rows[0].title


def weights_of(rows: Iterable[Row]) -> str:
    """The weights of our models, in words."""
    paths = {row.model: README.parent / CARDS / f"{row.model}.safetensors" for row in rows if row.ours}
    sizes = ", ".join(f"{model} {path.stat().st_size / 1e6:.2f} MB" for model, path in paths.items() if path.exists())
    return f"Weights: {sizes}. " if sizes else ""


def card_block(model: str, measured: Sequence[Sequence[Row]]) -> str:
    """What stands between the marks of a model's card: what it gives on whole data sets of images that it is for."""
    text = ["| data set | coded as | bits/dim | -ELBO | overhead |", "|---|---|---:|---:|---:|"]
    for rows in measured:
        whole = [row for row in rows if row.model == model and row.ours and row.trained_for_it and row.images == rows_images(rows)]
        for row in sorted(whole, key=lambda row: (row.bits_per_dim or 0.0, -row.threads)):
            if row.bound is not None and row.threads == max(row.threads for row in whole):
                overhead = "" if row.overhead is None else f"{100 * row.overhead:+.2f} %"
                coded = f"{row.layout}, {row.scheme}" if row.scheme else row.layout
                digits = 3 if row.files else 4
                bounds = f"{row.bits_per_dim:.{digits}f}", f"{row.bound.neg_elbo_bits_per_dim:.{digits}f}"
                cells = (title_of([row]), coded, *bounds, overhead)
                text.append("| " + " | ".join(cells) + " |")
        known = detail.read(RESULTS / f"{detail.PREFIX}{rows[0].dataset}.json")
        if known is not None and known.model == model:
            text.append(f"| {title_of(rows)} | without the adaptive stage | {known.bits_per_dim:.3f} | | |")
    return "\n".join([*text, "", "Real file bytes, decoded and compared; other codecs and times are in `benchmarks/results`."])


def rows_images(rows: Sequence[Row]) -> int:
    """Of the whole data set."""
    return max(row.images for row in rows)


def blocks() -> dict[str, str]:
    """What stands between the marks, by the path of the file from the root: of the README, and of the cards of models."""
    root, measured = README.parent, read_tables(RESULTS)
    cards = sorted(path for path in (root / CARDS).glob("*.md") if path.with_suffix(".safetensors").exists())
    return {README.name: readme_block()} | {path.relative_to(root).as_posix(): card_block(path.stem, measured) for path in cards}


def with_block(text: str, block: str) -> str:
    """A text with another block between its marks. Raises: ValueError when it has none."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"it has no part between {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


@click.command()
@click.argument("folder", default=RESULTS, type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Write tables and plots from the JSON in a folder of results; of the project's own, its README and model cards as well."""
    for path in write_folder(folder):
        click.echo(path)
    if folder.resolve() == RESULTS.resolve() and README.exists():
        for name, block in blocks().items():
            path = README.parent / name
            try:
                path.write_text(with_block(path.read_text(), block))
            except ValueError as error:
                raise click.UsageError(f"{path}: {error}") from None
            click.echo(path)


if __name__ == "__main__":
    main()
