"""What the five papers claim, as data: where it is printed, in which sweep it is tested, and which figure has to lie where.

Every figure is a weighted sum of one metric of several lines, as ``LPIPS of A − LPIPS of B``: it is linear in the rows, so it has a
value for every picture and repeat, and a paired bootstrap gives its interval. A new preset needs only another run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gencomm_cli.bench.rows import Cell, Row

Value = float | str
Samples = Mapping[tuple[str, int], float]
"""By picture and repeat."""

SUCCESS_DB = 15.0
"""PSNR from which DiffCom's table III counts a blind reconstruction as a success."""


@dataclass(frozen=True)
class Sweep:
    """One `gencomm bench run`, less images, folder and metrics: its methods, and the words of the other flags."""

    methods: str
    flags: str


@dataclass(frozen=True)
class Line:
    """Rows of a sweep by a method.

    ``where``: fields of their cells, or options, and the values that they have; what is left open is averaged over.
    """

    sweep: str
    method: str
    where: tuple[tuple[str, Value], ...] = ()

    def takes(self, cell: Cell) -> bool:
        """Whether a cell is of this line."""
        return cell.method == self.method and all(_is(cell, name, value) for name, value in self.where)

    def __str__(self) -> str:
        return ", ".join(
            [f"`{self.method}`", *(f"{_named(name)}{_short(value)}{' dB' * (name == 'snr_db')}" for name, value in self.where)]
        )


def _is(cell: Cell, name: str, wanted: Value) -> bool:
    if isinstance(wanted, str):
        return (getattr(cell, name) if hasattr(cell, name) else cell.option(name)) == wanted
    found = getattr(cell, name) if hasattr(cell, name) else cell.number(name)
    return found is not None and math.isclose(float(found), wanted, rel_tol=1e-6)


def _named(name: str) -> str:
    return "" if name in ("channel", "snr_db") else f"{name.upper() if name == 'cbr' else name.replace('_', ' ')} "


def _short(value: Value) -> str:
    if isinstance(value, str):
        return value
    text = f"{value:g}"
    return text if len(text) <= 6 else f"1/{round(1 / value)}"


def line(sweep: str, method: str, **where: float | str) -> Line:
    """A line; numbers as they come."""
    return Line(sweep, method, tuple((name, value if isinstance(value, str) else float(value)) for name, value in where.items()))


@dataclass(frozen=True)
class Claim:
    """What a paper says, and the figure that would show it.

    Attributes:
        name: for ``--only``. paper: the method. place: section, table or figure. says: the claim, in our words.
        metric: of a row, or ``lost`` (%), ``success`` (%), ``cbr`` or ``spread`` (LPIPS to the pictures of the other repeats).
        terms: weights and lines. wanted: on which side of ``bound`` the figure has to lie.
        note: where the test is not the paper's, or, without terms, why it cannot be tested here.
    """

    name: str
    paper: str
    place: str
    says: str
    metric: str = ""
    terms: tuple[tuple[float, Line], ...] = ()
    wanted: Literal["below", "above"] = "below"
    bound: float = 0.0
    note: str = ""

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The sweeps that it needs."""
        return tuple(dict.fromkeys(each.sweep for _, each in self.terms))

    @property
    def tested(self) -> str:
        """How it is tested, in words."""
        if not self.terms:
            return self.note
        signs = "".join(f" {'−' if weight < 0 else '+'} {each}" for weight, each in self.terms).removeprefix(" + ")
        return (
            f"{METRICS.get(self.metric, self.metric)} of {signs}: {self.wanted} {self.bound:g}{f'. {self.note}' * bool(self.note)}"
        )


METRICS = {
    "lpips_alex": "LPIPS", "psnr": "PSNR (dB)", "lost": "pictures lost (%)", "success": "PSNR ≥ 15 dB (%)", "cbr": "CBR",
    "seconds": "decoding time (s)", "spread": "LPIPS between sends",
}  # fmt: skip


def values(rows: Sequence[Row], metric: str) -> dict[tuple[str, int], float]:
    """The metric of a line's rows by picture and repeat, what else differs averaged over; undefined ones are left out."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        value = _value(row, metric)
        if value is not None and math.isfinite(value):
            found[row.cell.image, row.cell.repeat].append(value)
    return {key: math.fsum(each) / len(each) for key, each in found.items()}


def _value(row: Row, metric: str) -> float | None:
    if metric == "lost":
        return 100.0 * (row.status != "ok")
    if row.status not in ("ok", "outage"):
        return None
    if metric == "success":
        return 100.0 * ((row.metrics.get("psnr") or 0.0) >= SUCCESS_DB)
    if metric == "cbr":
        return (row.cbr["image"] or 0.0) + (row.cbr.get("side") or 0.0)
    return row.seconds.get("decode") if metric == "seconds" else row.metrics.get(metric)


def less(first: Line, second: Line) -> tuple[tuple[float, Line], ...]:
    """First − second."""
    return (1.0, first), (-1.0, second)


def at(which: Line, **where: float | str) -> Line:
    """The line with more fixed."""
    return Line(which.sweep, which.method, which.where + line("", "", **where).where)


CROP, SMALL = "--prepare crop:256", "--prepare crop:128"
"""DiffCom costs a pass through prior and codec and back at every step: it is tested at a quarter of the paper's area."""
SWEEPS = {
    "textguided-snr": Sweep("textguided,textguided:coarse", f"{CROP} --snr 1,10 --cbr 0.0033 --channels awgn,rayleigh"),
    "textguided-diffjscc": Sweep("diffjscc", f"{CROP} --snr 1,10 --cbr 0.0033"),
    "textguided-cbr": Sweep("textguided,textguided:coarse", f"{CROP} --snr 10 --cbr 0.0020,0.011"),
    "textguided-steps": Sweep("textguided", f"{CROP} --snr 10 --cbr 0.0033 --steps 1,5,20"),
    "textguided-prompt": Sweep("textguided", f"{CROP} --snr 1 --cbr 0.0033 --prompts none,own"),
    "textguided-256": Sweep("textguided", "--prepare fit:256 --snr 10 --cbr 0.0033"),
    "textguided-512": Sweep("textguided,separate:avif:capacity", "--prepare fit:512 --snr 10 --cbr 0.0033 --total"),
    "diffjscc-rates": Sweep("diffjscc,diffjscc:coarse,separate:avif:capacity", f"{CROP} --snr 1,10 --cbr 1/384,1/96"),
    "diffjscc-lambda": Sweep("diffjscc", f"{CROP} --snr 1 --cbr 1/384 --option guidance-lambda=0,100"),
    "diffjscc-steps": Sweep("diffjscc", f"{CROP} --snr 13 --cbr 1/384 --steps 5,25,50"),
    "diffjscc-conditions": Sweep("diffjscc", f"{CROP} --snr 1 --cbr 1/384 --option condition=spatial+csi+text,spatial+csi,spatial"),
    "diffjscc-block": Sweep("diffjscc,diffjscc:coarse", f"{CROP} --snr 7 --cbr 1/192 --channels block"),
    "lrisc-snr": Sweep("lrisc,diffjscc:coarse,separate:avif", f"{CROP} --snr 0,5,10 --cbr 1/96"),
    "lrisc-cbr": Sweep("lrisc,diffjscc:coarse,separate:avif", f"{CROP} --snr 10 --cbr 1/48"),
    "lrisc-rates": Sweep("lrisc", f"{CROP} --snr 10 --cbr 1/96 --option allocation=adaptive,uniform"),
    "lrisc-steps": Sweep("lrisc", f"{CROP} --snr 10 --cbr 1/96 --steps 1,5"),
    "diffcom-snr": Sweep("diffcom,diffcom:coarse", f"{SMALL} --snr 0,10 --cbr 1/48"),
    "diffcom-cliff": Sweep("separate:avif", f"{SMALL} --snr 4,10 --cbr 1/48 --tx-snr 10 --modulation 16qam --code-rate 1/2"),
    "diffcom-multipath": Sweep(
        "diffcom,diffcom:coarse",
        f"{SMALL} --snr 10 --cbr 1/48 --csi estimated --channels multipath,multipath:clip=0.8,multipath:cp=0",
    ),
    "diffcom-confirm": Sweep("diffcom", f"{SMALL} --snr 10 --cbr 1/48 --option gamma=0"),
    "diffcom-steps": Sweep("diffcom", f"{SMALL} --snr 10 --cbr 1/48 --option eta=0.02,0.2"),
    "diffcom-plain": Sweep("diffcom", f"{SMALL} --snr 10 --cbr 1/48 --option variant=diffcom --steps 50"),
    "diffcom-blind": Sweep(
        "diffcom,diffcom:coarse",
        "--prepare crop:64 --snr 10 --cbr 1/48 --channels multipath --csi none --steps 100 "
        "--option variant=blind --option samples=3 --option pick=best",
    ),
    "scsic-snr": Sweep("scsic", "--protocol scsic --snr 1,5,20 --repeats 2"),
    "scsic-classical": Sweep("separate:jpeg2000", "--protocol scsic --snr 1,5,20 --modulation 16qam --code-rate 1/2"),
    "scsic-large": Sweep("scsic", "--protocol scsic --snr 20 --cbr 0.00262"),
    "scsic-steps": Sweep("scsic", "--protocol scsic --snr 20 --steps 1"),
}
"""By name: one is shared by all claims that it can show. Their order is that in which they run."""

TG, TG_COARSE = line("textguided-snr", "textguided"), line("textguided-snr", "textguided:coarse")
DJ, DEEP = line("diffjscc-rates", "diffjscc"), line("diffjscc-rates", "diffjscc:coarse")
LR, LR_DEEP, LR_AVIF = (line("lrisc-snr", method) for method in ("lrisc", "diffjscc:coarse", "separate:avif"))
DC, DC_COARSE = line("diffcom-snr", "diffcom"), line("diffcom-snr", "diffcom:coarse")
OFDM, OFDM_COARSE = line("diffcom-multipath", "diffcom"), line("diffcom-multipath", "diffcom:coarse")
SC, JP2 = line("scsic-snr", "scsic"), line("scsic-classical", "separate:jpeg2000")
MAMBA = "The same JSCC, decoded without diffusion, stands for MambaJSCC."
CONVOLUTIONS = "DiffJSCC's JSCC alone stands for DeepJSCC."
BPG = "AVIF stands for BPG."
FID = "The paper has FID, which needs Inception's weights and thousands of patches; LPIPS stands for it."

CLAIMS = (
    Claim(
        "textguided-awgn", "textguided", "fig. 4; sec. IV-B", "better LPIPS than MambaJSCC at every SNR over AWGN (CBR 0.0033)",
        "lpips_alex", less(at(TG, channel="awgn"), at(TG_COARSE, channel="awgn")), note=MAMBA,
    ),
    Claim(
        "textguided-rayleigh", "textguided", "fig. 4; sec. IV-B", "and over fast Rayleigh fading (−0.085 at 5 dB)", "lpips_alex",
        less(at(TG, channel="rayleigh"), at(TG_COARSE, channel="rayleigh")), note=MAMBA,
    ),
    Claim(
        "textguided-diffjscc", "textguided", "figs. 3, 4", "better LPIPS than DiffJSCC over AWGN, in a tenth of its steps",
        "lpips_alex", less(at(TG, channel="awgn"), line("textguided-diffjscc", "diffjscc")),
    ),
    Claim(
        "textguided-low-rate", "textguided", "fig. 6; sec. IV-B", "better LPIPS than MambaJSCC at CBR 0.0020 (−0.075)",
        "lpips_alex", note=MAMBA,
        terms=less(line("textguided-cbr", "textguided", cbr=0.0020), line("textguided-cbr", "textguided:coarse", cbr=0.0020)),
    ),
    Claim(
        "textguided-high-rate", "textguided", "figs. 5, 6", "and still at CBR 0.011 (−0.040 on DIV2K)", "lpips_alex",
        less(line("textguided-cbr", "textguided", cbr=0.011), line("textguided-cbr", "textguided:coarse", cbr=0.011)), note=MAMBA,
    ),
    Claim(
        "textguided-gap", "textguided", "sec. IV-B", "the gap narrows as the CBR grows", "lpips_alex",
        (*less(line("textguided-cbr", "textguided", cbr=0.0020), line("textguided-cbr", "textguided:coarse", cbr=0.0020)),
         *less(line("textguided-cbr", "textguided:coarse", cbr=0.011), line("textguided-cbr", "textguided", cbr=0.011))),
    ),
    Claim(
        "textguided-steps", "textguided", "sec. I; sec. IV-B", "five steps are enough", "lpips_alex",
        less(line("textguided-steps", "textguided", steps=5), line("textguided-steps", "textguided", steps=20)), bound=0.01,
        note="Of twenty steps; 0.01 of LPIPS counts as none.",
    ),
    Claim(
        "textguided-prompt", "textguided", "sec. I; fig. 2", "the prompt helps, most at low rates", "lpips_alex",
        less(line("textguided-prompt", "textguided", prompt="own"), line("textguided-prompt", "textguided", prompt="none")),
    ),
    Claim(
        "textguided-size", "textguided", "sec. III-A; fig. 8", "at the same CBR a larger picture comes out better (512², 256²)",
        "lpips_alex", less(line("textguided-512", "textguided"), line("textguided-256", "textguided")),
        note="The same photographs at the same CBR, scaled to 512² and 256².",
    ),
    Claim(
        "textguided-classical", "textguided", "abstract", "better than conventional coding at equal rate", "lpips_alex",
        less(line("textguided-512", "textguided"), line("textguided-512", "separate:avif:capacity")),
        note="AVIF under an ideal channel code, which no real one reaches; all symbols counted.",
    ),
    Claim(
        "diffjscc-1/384", "diffjscc", "fig. 5; sec. III-C", "better LPIPS than DeepJSCC at ρ = 1/384, mean over SNR (−41.4 %)",
        "lpips_alex", less(at(DJ, cbr=1 / 384), at(DEEP, cbr=1 / 384)),
    ),
    Claim(
        "diffjscc-1/96", "diffjscc", "fig. 5; sec. III-C", "and at ρ = 1/96 (−43 %)", "lpips_alex",
        less(at(DJ, cbr=1 / 96), at(DEEP, cbr=1 / 96)),
    ),
    Claim(
        "diffjscc-psnr", "diffjscc", "fig. 4; sec. III-C", "while PSNR stays similar, or loses a little", "psnr",
        less(DJ, DEEP), "above", -1.5, "A loss of 1.5 dB counts as a little.",
    ),
    Claim(
        "diffjscc-bpg", "diffjscc", "fig. 4; sec. III-C", "better LPIPS than BPG at capacity", "lpips_alex",
        less(at(DJ, cbr=1 / 96), line("diffjscc-rates", "separate:avif:capacity", cbr=1 / 96)), note=BPG,
    ),
    Claim(
        "diffjscc-low-snr", "diffjscc", "sec. III-C", "the lead over DeepJSCC is larger at 1 dB than at 10 dB", "lpips_alex",
        (*less(at(DJ, snr_db=1), at(DEEP, snr_db=1)), *less(at(DEEP, snr_db=10), at(DJ, snr_db=10))),
    ),
    Claim(
        "diffjscc-fading", "diffjscc", "fig. 6", "better LPIPS than DeepJSCC over slow Rayleigh fading", "lpips_alex",
        less(line("diffjscc-block", "diffjscc"), line("diffjscc-block", "diffjscc:coarse")),
    ),
    Claim(
        "diffjscc-guidance", "diffjscc", "fig. 5; sec. III-C", "a larger λ brings PSNR back", "psnr",
        less(line("diffjscc-lambda", "diffjscc", guidance_lambda=100), line("diffjscc-lambda", "diffjscc", guidance_lambda=0)),
        "above",
    ),
    Claim(
        "diffjscc-steps", "diffjscc", "fig. 14; sec. III-E2", "more steps, better LPIPS (25 → 50: −0.02)", "lpips_alex",
        less(line("diffjscc-steps", "diffjscc", steps=50), line("diffjscc-steps", "diffjscc", steps=25)),
    ),
    Claim(
        "diffjscc-few-steps", "diffjscc", "fig. 14", "50 steps are better than a few", "lpips_alex",
        less(line("diffjscc-steps", "diffjscc", steps=50), line("diffjscc-steps", "diffjscc", steps=5)),
        note="The figure begins above five steps.",
    ),
    Claim(
        "diffjscc-csi", "diffjscc", "fig. 12; sec. III-E1", "the SNR as a condition helps (FID −2 %)", "lpips_alex",
        less(line("diffjscc-conditions", "diffjscc", condition="spatial+csi"),
             line("diffjscc-conditions", "diffjscc", condition="spatial")), note=FID,
    ),
    Claim(
        "diffjscc-text", "diffjscc", "fig. 12; sec. III-E1", "captions help further (FID −4.3 %)", "lpips_alex",
        less(line("diffjscc-conditions", "diffjscc", condition="spatial+csi+text"),
             line("diffjscc-conditions", "diffjscc", condition="spatial+csi")), note=FID,
    ),
    Claim(
        "lrisc-lpips", "lrisc", "fig. 4; sec. IV-B", "better LPIPS than DeepJSCC (−43.3 %)", "lpips_alex", less(LR, LR_DEEP),
        note=CONVOLUTIONS,
    ),
    Claim(
        "lrisc-psnr", "lrisc", "fig. 4; sec. IV-B", "the highest PSNR over the whole range of SNR", "psnr", less(LR, LR_DEEP),
        "above", note=CONVOLUTIONS,
    ),
    Claim(
        "lrisc-gap", "lrisc", "sec. IV-B", "the lead in LPIPS widens as the SNR grows", "lpips_alex",
        (*less(at(LR, snr_db=10), at(LR_DEEP, snr_db=10)), *less(at(LR_DEEP, snr_db=0), at(LR, snr_db=0))), note=CONVOLUTIONS,
    ),
    Claim(
        "lrisc-bpg", "lrisc", "fig. 5; sec. IV-B", "better LPIPS than BPG + LDPC", "lpips_alex",
        less(line("lrisc-cbr", "lrisc"), line("lrisc-cbr", "separate:avif")), note=BPG,
    ),
    Claim(
        "lrisc-bpg-psnr", "lrisc", "fig. 5; sec. IV-B", "and a higher PSNR", "psnr",
        less(line("lrisc-cbr", "lrisc"), line("lrisc-cbr", "separate:avif")), "above", note=BPG,
    ),
    Claim(
        "lrisc-cliff", "lrisc", "fig. 6; sec. IV-B", "no cliff: from 10 to 0 dB the picture fades gradually", "psnr",
        less(at(LR, snr_db=0), at(LR, snr_db=10)), "above", -8.0, "0.8 dB of PSNR for a dB of SNR.",
    ),
    Claim(
        "lrisc-snr", "lrisc", "fig. 6; sec. IV-B", "distortions lessen as the SNR grows", "lpips_alex",
        less(at(LR, snr_db=10), at(LR, snr_db=0)),
    ),
    Claim(
        "lrisc-allocation", "lrisc", "sec. III-A", "rates by information are better than one rate for all", "psnr",
        less(line("lrisc-rates", "lrisc", allocation="adaptive"), line("lrisc-rates", "lrisc", allocation="uniform")), "above",
    ),
    Claim(
        "lrisc-steps", "lrisc", "sec. III-A", "diffusion generates detail: five steps are better than one", "lpips_alex",
        less(line("lrisc-steps", "lrisc", steps=5), line("lrisc-steps", "lrisc", steps=1)),
    ),
    Claim(
        "diffcom-10dB", "diffcom", "tables I, IV", "HiFi-DiffCom has better LPIPS than its codec at 10 dB (0.187 → 0.080)",
        "lpips_alex", less(at(DC, snr_db=10), at(DC_COARSE, snr_db=10)),
    ),
    Claim(
        "diffcom-0dB", "diffcom", "tables II, IV", "and at 0 dB (0.320 → 0.197)", "lpips_alex",
        less(at(DC, snr_db=0), at(DC_COARSE, snr_db=0)),
    ),
    Claim(
        "diffcom-psnr", "diffcom", "table IV", "at a small loss of PSNR (28.66 → 28.06 dB at 10 dB)", "psnr",
        less(at(DC, snr_db=10), at(DC_COARSE, snr_db=10)), "above", -1.0, "A loss of 1 dB counts as small.",
    ),
    Claim(
        "diffcom-multipath", "diffcom", "table VI; fig. 10a", "better LPIPS than the codec over multipath (0.311 → 0.143)",
        "lpips_alex", less(at(OFDM, channel="multipath"), at(OFDM_COARSE, channel="multipath")),
    ),
    Claim(
        "diffcom-multipath-psnr", "diffcom", "table VI; fig. 10a", "and a higher PSNR (24.23 → 25.16 dB)", "psnr",
        less(at(OFDM, channel="multipath"), at(OFDM_COARSE, channel="multipath")), "above",
    ),
    Claim(
        "diffcom-clipping", "diffcom", "fig. 10b", "a higher PSNR than the codec under clipping", "psnr",
        less(at(OFDM, channel="multipath:clip=0.8"), at(OFDM_COARSE, channel="multipath:clip=0.8")), "above",
    ),
    Claim(
        "diffcom-isi", "diffcom", "fig. 11", "and without the cyclic prefix", "psnr",
        less(at(OFDM, channel="multipath:cp=0"), at(OFDM_COARSE, channel="multipath:cp=0")), "above",
    ),
    Claim(
        "diffcom-confirm", "diffcom", "table IV", "the confirming term improves LPIPS (0.091 → 0.080)", "lpips_alex",
        less(at(DC, snr_db=10), line("diffcom-confirm", "diffcom")),
    ),
    Claim(
        "diffcom-confirm-psnr", "diffcom", "table IV", "and PSNR (27.77 → 28.06 dB)", "psnr",
        less(at(DC, snr_db=10), line("diffcom-confirm", "diffcom")), "above",
    ),
    Claim(
        "diffcom-steps", "diffcom", "table VII", "more steps, better LPIPS", "lpips_alex",
        less(line("diffcom-steps", "diffcom", eta=0.2), line("diffcom-steps", "diffcom", eta=0.02)),
    ),
    Claim(
        "diffcom-steps-psnr", "diffcom", "table VII", "and lower PSNR", "psnr",
        less(line("diffcom-steps", "diffcom", eta=0.2), line("diffcom-steps", "diffcom", eta=0.02)),
    ),
    Claim(
        "diffcom-hifi", "diffcom", "tables IV, V", "HiFi has a higher PSNR than plain DiffCom (19.98 → 28.06 dB)", "psnr",
        less(at(DC, snr_db=10), line("diffcom-plain", "diffcom")), "above", note="Plain DiffCom in 50 of its 1000 steps.",
    ),
    Claim(
        "diffcom-blind", "diffcom", "table III", "without pilots it succeeds in 35 to 85 % of cases", "success",
        ((1.0, line("diffcom-blind", "diffcom")),), "above", 35.0, "64² pixels, 100 steps, the best of three samples.",
    ),
    Claim(
        "diffcom-blind-codec", "diffcom", "table III", "where the codec alone never does (0 %)", "success",
        less(line("diffcom-blind", "diffcom"), line("diffcom-blind", "diffcom:coarse")), "above",
    ),
    Claim(
        "diffcom-cliff", "diffcom", "fig. 7; sec. IV-B", "codecs with LDPC fall off a cliff below their SNR; DiffCom does not",
        "psnr", (*less(line("diffcom-cliff", "separate:avif", snr_db=10), line("diffcom-cliff", "separate:avif", snr_db=4)),
         *less(at(DC, snr_db=0), at(DC, snr_db=10))), "above",
        note="PSNR that 16-QAM at rate 1/2 loses from 10 to 4 dB, less what DiffCom loses from 10 to 0 dB.",
    ),
    Claim(
        "scsic-lpips", "scsic", "fig. 4; sec. 4.3.1", "better LPIPS than JPEG 2000 + LDPC", "lpips_alex", less(SC, JP2),
    ),
    Claim(
        "scsic-lost", "scsic", "fig. 4; sec. 4.3.1", "JPEG 2000 + LDPC fails at low SNR (1, 5 dB), SC-SIC does not", "lost",
        (*((0.5, at(JP2, snr_db=snr)) for snr in (1, 5)), *((-0.5, at(SC, snr_db=snr)) for snr in (1, 5))), "above", 95.0,
    ),
    Claim(
        "scsic-high-snr", "scsic", "sec. 4.3.1", "at high SNR, too, its LPIPS is better than JPEG 2000's", "lpips_alex",
        less(at(SC, snr_db=20), at(JP2, snr_db=20)),
    ),
    Claim(
        "scsic-predictable", "scsic", "table 2", "sends of one picture differ less at 20 dB than at 1 dB (0.205, 0.371 at 512²)",
        "spread", less(at(SC, snr_db=20), at(SC, snr_db=1)),
    ),
    Claim(
        "scsic-spread", "scsic", "table 2", "at 20 dB they differ by LPIPS 0.205 at most (GESCO 0.401, Img2Img-SC 0.520)",
        "spread", ((1.0, at(SC, snr_db=20)),), bound=0.205,
    ),
    Claim(
        "scsic-samples", "scsic", "sec. 2, eq. 4", "stage B samples: its sends differ, as a conditional mean's would not", "spread",
        ((1.0, at(SC, snr_db=20)),), "above", 0.02, "Not a claim of the paper but what it takes for granted.",
    ),
    Claim(
        "scsic-rate", "scsic", "table 1", "0.29 % of the picture's numbers (341:1), that is CBR 1/683", "cbr",
        ((1.0, SC),), bound=0.00152, note="With the symbols of the gain.",
    ),
    Claim(
        "scsic-size", "scsic", "fig. 8b; sec. 4.3.5", "a larger embedding improves LPIPS by more than 10 %", "lpips_alex",
        ((1.0, line("scsic-large", "scsic")), (-0.9, at(SC, snr_db=20))), note="At 512²: [16, 16, 16] against [16, 12, 12].",
    ),
    Claim(
        "scsic-low-snr", "scsic", "figs. 1, 4", "it keeps its quality at low SNR", "lpips_alex",
        less(at(SC, snr_db=1), at(SC, snr_db=20)), bound=0.25, note="0.25 of LPIPS between 20 and 1 dB counts as kept.",
    ),
    Claim(
        "scsic-steps", "scsic", "sec. 2", "diffusion earns its steps: better LPIPS than one step", "lpips_alex",
        less(at(SC, snr_db=20, repeat=0), line("scsic-steps", "scsic")),
    ),
    Claim(
        "textguided-fid", "textguided", "figs. 3 to 6", "lower FID and KID than MambaJSCC",
        note="Needs Inception's weights and DIV2K: `gencomm bench run DIV2K --protocol textguided --fid`.",
    ),
    Claim(
        "diffjscc-faces", "diffjscc", "figs. 10, 11", "better than InverseJSCC and Yilmaz et al. on faces",
        note="No preset is trained on faces; `paper-faces-1-768.json` is a recipe for one.",
    ),
    Claim("diffjscc-miou", "diffjscc", "figs. 8, 9", "better mIoU on ADE20K", note="Needs ViT-Adaptor's segmentation weights."),
    Claim(
        "scsic-finetuned", "scsic", "fig. 8a", "fine-tuning with noise helps below 10 dB",
        note="Needs the preset before it was fine-tuned, which is not shipped: `examples/figures_scsic.sh` with PLAIN.",
    ),
    Claim(
        "scsic-speed", "scsic", "fig. 5", "3 times faster than Img2Img-SC at 512², 16 times at 1024²",
        note="Needs Img2Img-SC; `examples/latency_full.py` has SC-SIC's own time.",
    ),
)  # fmt: skip
