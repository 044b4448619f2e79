"""Write the tables of benchmarks/results into the README: ``python -m benchmarks.report``.

Rates are measured by benchmarks/photos.py and benchmarks/peers.py; nothing is typed in by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
SETS = {"kodak": "Kodak, 24 pictures", "valid": "validation photos, 16"}


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())  # type: ignore[no-any-return]


def rates() -> list[str]:
    """Bits/dim of real files, ours and other codecs'."""
    ours, peers = {s: load(f"photos-{s}")["total"] for s in SETS}, {s: load(f"peers-{s}")["bits_per_dim"] for s in SETS}
    lines = ["| bits/dim of real files | " + " | ".join(SETS.values()) + " |", "|---|" + "---|" * len(SETS)]
    lines.append("| **vaezip**, every file by the model | " + " | ".join(f"**{ours[s]['bits_per_dim']:.3f}**" for s in SETS) + " |")
    for name in next(iter(peers.values())):
        lines.append(f"| {name} | " + " | ".join(f"{peers[s][name]:.3f}" for s in SETS) + " |")
    return lines


def accounting() -> list[str]:
    """Where the bits go, with latents and without, and what coding costs beyond the negative ELBO."""
    rows = {
        "-log p(x given z)": "likelihood_bits_per_dim",
        "-log p(z)": "prior_bits_per_dim",
        "-log q(z given x), given back": "posterior_bits_per_dim",
        "initial bits": "initial_bits_per_dim",
        "file": "bits_per_dim",
        "negative ELBO": "neg_elbo",
    }
    columns = [
        (load(f"photos-{s}{kind}")["total"], f"{s}, {label}")
        for s in SETS
        for kind, label in (("", "with z"), ("-without", "without"))
    ]
    lines = ["| bits/dim | " + " | ".join(label for _, label in columns) + " |", "|---|" + "---|" * len(columns)]
    for name, key in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{total[key]:.4f}" for total, _ in columns) + " |")
    lines.append(
        "| file beyond the negative ELBO | " + " | ".join(f"{total['overhead_percent']:+.3f} %" for total, _ in columns) + " |"
    )
    return lines


def quantisation() -> list[str]:
    """What rounding costs: the averaged weights without rounding, and with the rounding that they were trained with."""
    totals = {s: load(f"photos-{s}")["total"] for s in SETS}
    rates = [(s, t["crops_neg_elbo_float"], t["crops_neg_elbo_quantised"]) for s, t in totals.items()]
    parts = [f"{name} {plain:.4f} without rounding, {rounded:.4f} with it" for name, plain, rounded in rates]
    return [f"The price of integers, as the negative ELBO of centre crops of 256 x 256: {'; '.join(parts)}."]


def main() -> None:
    """Replace what stands between the marks of the README."""
    about = load("photos-kodak")
    total = about["total"]
    text = [*rates(), "", "Where the bits go, against a model trained without latents on the same crops for as many steps:", ""]
    text += [*accounting(), "", *quantisation(), ""]
    text.append(
        f"The decoder runs {about['about']['macs_per_pixel'] / 1000:.0f} thousand multiplications a pixel. A Kodak picture "
        f"(0.39 MP) takes {total['encode_s']:.2f} s to compress without verification and {total['decode_s']:.2f} s to "
        f"decompress, warm, on {about['about']['threads']} cores of an {about['about']['processor']}."
    )
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(before + BEGIN + "\n" + "\n".join(text) + "\n" + END + after)


if __name__ == "__main__":
    main()
