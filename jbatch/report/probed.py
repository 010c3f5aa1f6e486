"""Draw what a probe of a run found, and write it as JSON."""

import json
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jbatch.files import write_whole
from jbatch.plan.critical import Branch, Place, critical, make_ramp, uncertainty
from jbatch.plan.probed import Probed
from jbatch.report.drawing import STYLES, drawn, looking, saved, styles
from jbatch.text import rounded

FOLDER = "probe"  # of a run directory
FORMS = ("svg", "png")


def write_probed(directory: Path, found: Probed) -> Path:
    """Write JSON and figures below a run directory, and return their folder."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    for name, figure in figures(found).items():
        for form in FORMS:
            write_whole(folder / f"{name}.{form}", saved(figure, form))
    write_whole(folder / "probe.json", json.dumps(probed_json(found), indent=2) + "\n")
    return folder


def probed_json(found: Probed) -> dict[str, Any]:
    """Describe a probe as JSON; a loss that diverged is null."""
    measure = found.plan.measure
    return {
        "unit": measure.unit,
        "tolerance": found.tolerance,
        "seed": found.seed,
        "places": [
            {
                "asked": place.asked,
                "examples": place.window.position,
                measure.unit: measure.at(place.window.position),
                "batch_size": place.window.batch_size,
                "window": place.window.examples,
                "critical_batch_size": (
                    best := critical(place.branches, found.tolerance)
                ).batch_size,
                "at_least": best is place.branches[-1],
                "noise_scale": best.noise_scale,
                "branches": [_branch_json(place, branch) for branch in place.branches],
            }
            for place in found.places
        ],
        "ramp": found.ramp,
        "ramp_updates": found.ramp_updates,
        "updates": found.plan.num_updates,
        "cost": {
            "examples": found.examples,
            "share": found.cost,
            "seconds": round(found.seconds, 1),
        },
    }


def _branch_json(place: Place, branch: Branch) -> dict[str, Any]:
    return {
        "multiple": branch.multiple,
        "batch_size": branch.batch_size,
        "updates": branch.updates,
        "learning_rate": rounded(branch.learning_rate, 7),
        "loss": branch.loss if math.isfinite(branch.loss) else None,
        "uncertainty": None if branch.multiple == 1 else uncertainty(place, branch),
        "losses": [loss if math.isfinite(loss) else None for loss in branch.losses],
        "noise_scale": branch.noise_scale,
    }


def figures(found: Probed) -> dict[str, Figure]:
    """Draw what larger batches lose, and the critical batch over the run."""
    with looking():
        return {
            "losses": drawn(lambda axes: _losses(axes, found)),
            "critical": drawn(lambda axes: _critical(axes, found)),
        }


def _losses(axes: Axes, found: Probed) -> None:
    """Draw each place's losses, less that of the run's batch, against the batch size."""
    sizes = set()
    for place, style in zip(found.places, styles(), strict=False):
        there = [branch for branch in place.branches if math.isfinite(branch.loss)]
        x = [branch.batch_size for branch in there]
        above = [branch.loss - place.branches[0].loss for branch in there]
        error = [uncertainty(place, branch) or 0.0 for branch in there]
        name = found.plan.measure.place(place.window.position)
        axes.errorbar(x, above, error, label=name, marker="o", markersize=4, capsize=2, **style)
        sizes |= set(x)
    axes.axhline(found.tolerance, color="#000000", linewidth=0.8, label="tolerance")
    axes.set(xlabel="batch size", ylabel="loss above that at the run's batch")
    axes.set_xscale("log")
    axes.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
    axes.xaxis.set_minor_locator(NullLocator())


def _critical(axes: Axes, found: Probed) -> None:
    """Draw critical batches and noise scales over the run, with its batch and the ramp's."""
    plan, measure = found.plan, found.plan.measure
    at = [measure.at(place.window.position) for place in found.places]
    best = [critical(place.branches, found.tolerance) for place in found.places]
    axes.set_yscale("log")
    axes.plot(at, [each.batch_size for each in best], "o", color="#D55E00", label="critical batch")
    beyond = [
        (x, each.batch_size)
        for x, each, place in zip(at, best, found.places, strict=True)
        if each is place.branches[-1]
    ]
    if beyond:
        x, y = zip(*beyond, strict=True)
        axes.plot(x, y, "^", color="#D55E00", markersize=9, fillstyle="none", label="at least")
    scales = [(x, each.noise_scale) for x, each in zip(at, best, strict=True) if each.noise_scale]
    if scales:
        axes.plot(*zip(*scales, strict=True), "s", color="#009E73", label="gradient noise scale")
    ramp = make_ramp(int(plan.batch_sizes[0]), found.places, found.tolerance)
    end = measure.at(plan.end)
    runs = [(measure.at(plan.position(p.first_update)), p.batch_size) for p in plan.phases]
    for steps, name, style in (
        (runs, "the run's batch", STYLES[0]),
        (
            [(measure.at(start), size) for start, size in ramp.items()],
            "the ramp's batch",
            STYLES[1],
        ),
    ):
        x, y = zip(*steps, (end, steps[-1][1]), strict=True)
        axes.step(x, y, where="post", label=name, **style)
    axes.set(xlabel=measure.unit, ylabel="examples")
