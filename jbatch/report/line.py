"""Draw the loss on the line between two minima: figure 3 of Keskar et al. (arXiv 1609.04836)."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from jbatch.report.drawing import STYLES, drawn, looking, saved


def line_figure(
    alphas: Sequence[float], points: Sequence[tuple[float, float]], names: Sequence[str], form: str
) -> bytes:
    """Draw training loss (logarithmic) and accuracy against α, and return the file.

    Args:
        alphas: places on the line; 0 is the first run and 1 the second.
        points: (loss, accuracy) at each.
        names: of the two runs.
        form: "svg" or "png".
    """

    def draw(axes: Axes) -> None:
        losses, accuracies = zip(*points, strict=True)
        axes.plot(alphas, losses, label="training loss", **STYLES[0])
        axes.set(xlabel="α", ylabel="training loss")
        axes.set_yscale("log")
        right = axes.twinx()
        percent = [100 * accuracy for accuracy in accuracies]
        right.plot(alphas, percent, **STYLES[1])
        right.set_ylabel("training accuracy (%)")
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        axes.set_xticks([-1, 0, 1, 2], ["−1", f"0\n{names[0]}", f"1\n{names[1]}", "2"])
        axes.plot([], [], label="training accuracy", **STYLES[1])

    with looking():
        return saved(drawn(draw), form)
