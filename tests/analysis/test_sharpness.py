"""Sharpness of functions whose answers are known, and of a trained network."""

import copy
import json

import jax
import numpy as np
import pytest

from commands import TINY
from jbatch.analysis.loss_landscape import Landscape, Point, line
from jbatch.analysis.sharpness import largest_eigenvalue, random_directions, sharpness
from jbatch.cli import main
from jbatch.errors import Mistake
from jbatch.run.newest import newest_of
from jbatch.run.reopen import remake

CURVATURES = np.array([0.5, 3.0, 10.0, 200.0])


def bowl(x):
    """½ Σ h x² + 1: its minimum is 1 at 0."""
    return 1 + 0.5 * (CURVATURES * x**2).sum(), CURVATURES * x


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_a_bowl_is_highest_in_the_corners(epsilon):
    found = sharpness(bowl, np.zeros(4), epsilon)
    assert found == pytest.approx(100 * 0.5 * CURVATURES.sum() * epsilon**2 / 2, rel=1e-6)


def test_the_box_grows_with_the_weights():
    slope, x = np.array([1.0, -2.0]), np.array([3.0, -5.0])
    found = sharpness(lambda at: (slope @ at, slope), x, 0.01)
    assert found == pytest.approx(100 * 0.01 * (4 * 1 + 6 * 2) / (1 + slope @ x), rel=1e-9)


def test_a_subspace_has_a_box_of_its_own():
    along = np.array([[1.0], [0.0], [0.0], [2.0]])
    x = np.array([3.0, 0.0, 0.0, 6.0])  # 3 · along
    top = x + 0.01 * (3 + 1) * along[:, 0]
    expected = 100 * (bowl(top)[0] - bowl(x)[0]) / (1 + bowl(x)[0])
    assert sharpness(bowl, x, 0.01, directions=along) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
def test_what_has_no_loss_nearby_is_not_flat(beyond):
    found = sharpness(lambda x: (beyond if x.any() else 1.0, 0 * x), np.zeros(4), 0.1)
    assert found == np.inf


def test_what_is_flat_has_none():
    assert sharpness(lambda x: (2.0, 0 * x), np.ones(3), 0.1) == 0


def test_random_directions_are_standard_normal():
    found = random_directions(20_000, 5, seed=3)
    np.testing.assert_allclose(found.T @ found / 20_000, np.eye(5), atol=0.05)  # 5 deviations


def test_the_largest_eigenvalue_is_not_the_most_negative():
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 50)))
    matrix = basis @ np.diag(np.linspace(-30, 4, 50)) @ basis.T
    assert largest_eigenvalue(lambda v: matrix @ v, 50) == pytest.approx(4, rel=2e-3)
    with pytest.raises(Mistake, match="no spectrum"):
        largest_eigenvalue(lambda v: v, 1)
    assert largest_eigenvalue(lambda v: 0 * v, 50) == 0


def test_too_many_directions_are_refused():
    with pytest.raises(Mistake, match="--directions is 6: for 10 parameters, give at most 5"):
        random_directions(10, 6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("sharpness")
    for variant in ("decaying", "growing"):
        assert main(["train", str(TINY), variant, "--run-dir", str(out / variant)]) == 0
    return out


@pytest.fixture(scope="module")
def landscape(trained):
    return landscape_of(trained / "growing")


def landscape_of(directory, examples=None):
    return Landscape(remake(directory)[2], directory, examples)


def test_the_landscape_is_the_loss_of_the_training_set(trained, landscape):
    newest = newest_of(remake(trained / "growing")[2], trained / "growing")
    train = newest.data.dataset.train
    images, labels = train["image"], train["label"]
    logits = by_hand(newest.state, images)
    losses = -jax.nn.log_softmax(logits)[np.arange(len(labels)), labels]
    loss, accuracy = landscape.value(landscape.point)
    assert loss == pytest.approx(float(losses.mean()), rel=1e-4)
    assert accuracy == pytest.approx(float((logits.argmax(1) == labels).mean()), abs=1e-6)
    part = landscape_of(trained / "growing", 700)  # no whole pass
    assert part.value(part.point)[0] == pytest.approx(float(losses[:700].mean()), rel=1e-4)


def by_hand(state, images):
    """Logits of the tiny perceptron in NumPy."""
    params, stats = jax.tree.map(np.float64, (state.params, state.stats))
    hidden, seen = params["layers"][0], stats["layers"][0]["norm"]
    x = (images.reshape(len(images), -1) - images.mean()) / images.std()
    x = (x @ hidden["linear"]["kernel"] - seen["mean"]) / np.sqrt(seen["var"] + 1e-5)
    x = np.maximum(x * hidden["norm"]["scale"] + hidden["norm"]["bias"], 0)
    return np.float32(x @ params["head"]["kernel"] + params["head"]["bias"])


def test_gradient_and_hessian_are_of_differences(landscape):
    direction = np.random.default_rng(1).normal(size=landscape.x.size)
    direction /= np.linalg.norm(direction)
    up, down = (landscape.value_and_gradient(landscape.x + s * direction) for s in (0.05, -0.05))
    _, gradient = landscape.value_and_gradient(landscape.x)
    # Central differences: float32's 1e-7 over the step, and the step's square.
    assert (up[0] - down[0]) / 0.1 == pytest.approx(gradient @ direction, rel=0.02, abs=2e-4)
    product = landscape.hessian_times(direction)
    curvature = (up[1] - down[1]) / 0.1 @ direction
    assert curvature == pytest.approx(product @ direction, rel=0.05)


def test_a_line_begins_and_ends_at_the_two(trained, landscape):
    other = landscape_of(trained / "decaying")
    points = line(landscape, other, [0.0, 0.5, 1.0])
    assert points[0] == landscape.value(landscape.point)
    assert points[2] == other.value(other.point)
    middle = jax.tree.map(lambda a, b: (a + b) / 2, landscape.point, other.point)
    assert points[1] == pytest.approx(landscape.value(Point(*middle)), rel=1e-4)


def test_the_command_measures_two_runs_and_draws_the_line(trained, jbatch, tmp_path):
    runs = [trained / "growing", trained / "decaying"]
    few = ("--examples", 200, "--directions", 5, "--epsilon", 0.001, "--iterations", 3)
    code, out, err = jbatch("sharpness", *runs, *few, "--json", "--figure", tmp_path / "line.png")
    assert code == 0, err
    values = json.loads(out)
    assert [run["run"] for run in values["runs"]] == [str(run) for run in runs]
    first = values["runs"][0]
    spaces = [(box["epsilon"], box["space"]) for box in first["sharpness"]]
    assert spaces == [(0.001, "full space"), (0.001, "subspace")]
    assert all(box["value"] > 0 for box in first["sharpness"])
    assert first["largest_eigenvalue"] > 0
    assert [point["alpha"] for point in values["line"]] == list(np.linspace(-1, 2, 25))
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = jbatch("sharpness", runs[0], *few)
    assert "largest eigenvalue" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one or two run directories, not 0"),
        (("nowhere",), "nowhere is not a run directory"),
        (("RUN", "--figure", "line.png"), "two runs: give a second run directory"),
        (("RUN", "RUN", "--figure", "line.gif"), "--figure is line.gif"),
        (("RUN", "--examples", "2000"), "--examples is 2000: give 1 to 1,500"),
        (("RUN", "--epsilon", "0"), "--epsilon is 0"),
    ],
)
def test_mistakes(trained, jbatch, arguments, message):
    given = [str(trained / "growing") if each == "RUN" else each for each in arguments]
    code, _, err = jbatch("sharpness", *given)
    assert code == 2
    assert message in err


def test_two_networks_have_no_line(landscape):
    other = copy.copy(landscape)
    other.point = Point({"w": np.zeros(2)}, {})
    with pytest.raises(Mistake, match="of two networks"):
        line(landscape, other, [0.0])
    other = copy.copy(landscape)
    other.normalize = "min-max"
    with pytest.raises(Mistake, match="differ in normalize"):
        line(landscape, other, [0.0])


def test_variances_stay_above_0_beyond_the_two(trained, landscape):
    other = landscape_of(trained / "decaying")
    # By a straight line they would be at −2 at α = −1.
    stats = jax.tree.map(lambda leaf: 3 * leaf + 1, landscape.point.stats)
    other.point = Point(landscape.point.params, stats)
    points = line(landscape, other, [-1.0, 2.0])
    assert np.isfinite(points).all()
