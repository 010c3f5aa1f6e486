"""`jbatch check`: whether updates depend on how they are split."""

import re

import jax
import pytest

from commands import TINY

SPLITS = ["1 device, 2 passes", "1 device, 4 passes", "8 devices, 1 pass", "8 devices, 2 passes"]

OWN = """
import jax, jax.numpy as jnp, optax
from flax import nnx
from jbatch import Adam, Classify, Coupling, Digits, Experiment, Functions, SGD


class Net(nnx.Module):
    def __init__(self, rngs, use_bias=True):
        self.first = nnx.Linear(64, 16, use_bias=use_bias, rngs=rngs)
        self.norm = nnx.BatchNorm(16, axis_name="group", momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, image):
        return self.head(nnx.relu(self.norm(self.first(image.reshape(-1)))))


def without_bias(rngs):
    return Net(rngs, use_bias=False)


def init(key, example):
    return {"w": jax.random.normal(key, (64, 10)) * 0.1}


def loss(params, example, key):
    logits = example["image"].astype(jnp.float32).reshape(-1) / 16 @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, example["label"])


def rooted(params, example, key):
    return loss(params, example, key) + 1e-3 * jnp.sqrt(jnp.abs(params["w"] * 0).sum())


def experiment(task, optimizer=Adam(), rate=1e-3):
    return Experiment(
        Coupling(optax.constant_schedule(rate), num_epochs=1, batch_size=64, momentum=0.9),
        task=task,
        data=Digits(),
        optimizer=optimizer,
    )


variants = {
    "bias": experiment(Classify(Net, ghost_batch=16)),
    "no-bias": experiment(Classify(without_bias, ghost_batch=16, normalize="none")),
    "constant-pixels": experiment(Classify(without_bias, ghost_batch=16)),
    "bias-sgd": experiment(Classify(Net, ghost_batch=16), SGD(), 0.1),
    "functions": experiment(Functions(init, loss)),
    "root": experiment(Functions(init, rooted)),
}
"""


@pytest.fixture(scope="module", autouse=True)
def _eight_devices():
    """JAX has begun with them, so that `check` leaves their number as it is."""
    assert len(jax.devices()) == 8


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.py"


def outcomes(out) -> dict[str, tuple[str, str]]:
    """{what: (ok or FAILED, found)} of each line of a check."""
    lines = [re.fullmatch(r"(ok    |FAILED)  (.*?): (.*)", line) for line in out.splitlines()]
    return {line[2]: (line[1].strip(), line[3]) for line in lines if line}


def test_check_passes_for_the_tiny_experiment(jbatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = jbatch("check", TINY, "growing")
    found = outcomes(out)
    assert code == 0, out
    assert err == ""
    assert len(found) == len(out.splitlines())
    assert {passed for passed, _ in found.values()} == {"ok"}
    assert list(found) == [
        *("finite gradients", "dtypes", "8 devices, 1 pass", "optimizer", "2 resumes"),
        "evaluation, 1 and 8 devices",
    ]
    assert found["finite gradients"][1] == "after 3 updates"
    assert found["2 resumes"][1] == "the same bits"
    assert found["dtypes"][1] == "parameters: 2,442 float32"
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


@pytest.mark.slow
def test_check_names_a_bias_before_a_norm_under_adam(jbatch, own):
    code, out, _ = jbatch("check", own, "bias")
    found = outcomes(out)
    assert code == 1
    failed = {what: text for what, (passed, text) in found.items() if passed == "FAILED"}
    assert failed.keys() == {"optimizer"}
    assert failed["optimizer"].startswith("['first']['bias'] takes steps by rounding alone, so ")
    assert "A bias before a norm is such a parameter: leave it out (use_bias=False)" in out
    assert out.splitlines()[-1] == "1 check failed"
    assert {path.name for path in own.parent.iterdir()} == {"own.py"}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["no-bias", "bias-sgd", "functions"])
def test_check_passes(jbatch, own, variant):
    """Without the bias; with it, but without Adam; and without any norm."""
    code, out, _ = jbatch("check", own, variant)
    found = outcomes(out)
    assert code == 0, out
    assert found.keys() >= set(SPLITS[:3])
    assert {passed for passed, _ in found.values()} == {"ok"}


@pytest.mark.slow
def test_check_does_not_accuse_a_network_of_what_rounding_did(jbatch, own):
    """Some pixels are always 0: before a norm, the gradient of their weights is rounding alone."""
    code, out, _ = jbatch("check", own, "constant-pixels")
    assert code == 0, out


@pytest.mark.slow
def test_check_names_a_parameter_whose_gradient_is_not_finite(jbatch, own):
    code, out, _ = jbatch("check", own, "root")
    passed, text = outcomes(out)["finite gradients"]
    assert (code, passed) == (1, "FAILED")
    assert text.startswith("['w'] is NaN or infinite: lower the learning rate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TINY, "shrinking"), "shrinking"),
        ((TINY,), "growing"),
        ((TINY.with_name("none.py"), "growing"), "none.py"),
        ((TINY, "growing", "--plan.batch-size", "-1"), "batch_size"),
        ((TINY, "growing", "--data", "None"), "data"),
    ],
)
def test_check_refuses_with_one_mistake(jbatch, arguments, message):
    code, out, err = jbatch("check", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
