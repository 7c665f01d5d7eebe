"""evaluation.png: what the table says, as curves. matplotlib is optional."""

from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.runtime.files import write_atomically


def plot_report(path: Path, rows: dict[str, dict[str, Estimate]], details: dict[str, dict[str, Any]]) -> bool:
    """Draw SWD per level, energy error per octave, and held-out loss per timestep. False if matplotlib is missing."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return False
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for label, row in rows.items():
        for axes, prefix in zip(panels, ("swd_", "spectrum_db_"), strict=False):
            names = [name for name in row if name.startswith(prefix)]
            ticks = [name.removeprefix(prefix) for name in names]
            axes.errorbar(
                ticks, [row[n].value for n in names], _errors([row[n] for n in names]), marker="o", label=label
            )
        terms = details.get(label, {}).get("terms", {}).get("ema") or details.get(label, {}).get("terms", {}).get("raw")
        if terms:
            middle = [(term["t_first"] + term["t_last"]) / 2 for term in terms]
            panels[2].plot(middle, [term["loss"] for term in terms], label=label)
    panels[0].set(title="sliced Wasserstein distance", xlabel="pyramid level (pixels)", ylim=(0, None))
    panels[1].set(title="energy against real images", xlabel="cycles per image, from", ylabel="dB")
    panels[2].set(title="held-out denoising loss", xlabel="t", yscale="log", xscale="log")
    for axes in panels:
        if axes.has_data():
            axes.legend(fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=110))
    plt.close(figure)
    return True


def _errors(estimates: list[Estimate]) -> list[list[float]]:
    """Bars below and above; nan, which draws none, where there is no interval."""
    return [[max(e.value - e.low, 0) if e.low == e.low else e.low for e in estimates],
            [max(e.high - e.value, 0) if e.high == e.high else e.high for e in estimates]]  # fmt: skip
