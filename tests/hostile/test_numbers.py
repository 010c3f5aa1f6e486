"""Numbers of any magnitude, and contradictions: refused before anything is made."""

import dataclasses
import re
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from hostile.cases import NUMBERS, TINY
from jbatch.data.open import load
from jbatch.data.sources import Arrays, Generated
from jbatch.errors import Mistake
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models import MLP
from jbatch.task.classify import Classify


@pytest.mark.parametrize(("arguments", "message"), NUMBERS.values(), ids=NUMBERS)
def test_one_message(arguments, message, tmp_path, jbatch, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verb, *flags = arguments
    code, out, err = jbatch(verb, TINY, "growing", *flags)
    assert (code, out) == (2, "")
    assert re.search(message, re.sub(r"[\s│]+", " ", err)), err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_and_lists_are_taken(tmp_path):
    plan = Coupling(
        lambda epoch: 0.1 + 0 * epoch,
        num_examples=np.int64(1500),
        num_epochs=np.float32(2),
        batch_size=np.int32(40),
        batch_sizes=range(40, 121, 40),
        momentum=np.float32(0.5),
    )
    experiment = Experiment(plan=plan, task=Classify(MLP(hidden=[8, 8])), seed=np.int64(3))
    assert experiment.task.model.hidden == (8, 8)
    assert hash(experiment.task)
    assert plan.batch_sizes == (40, 80, 120)
    assert type(experiment.seed) is type(plan.num_examples) is int
    assert plan.plan().momentum == 0.5


def test_a_message_does_not_print_all_of_a_value():
    plan = Coupling(lambda epoch: epoch, num_examples=8, num_epochs=1, batch_size=8)
    with pytest.raises(Mistake) as refused:
        Experiment(plan=plan, task=Classify(list(range(10_000))))
    assert len(str(refused.value)) < 400


IMAGES = np.zeros((4, 2, 2, 1), np.uint8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, -1, 1, -1],
            r"the train labels: 2 labels are not within 0 to 1, the first at index 1 \(-1",
        ),
        (
            [0, 0, 0, 2],
            r"the train labels: 1 label is not within 0 to 1, the first at index 3 \(2\)",
        ),
        ([0.0, 1.0, 1.0, 0.5], "the labels are float32"),
        (["a", "b", "a", "b"], r"train\['label'\] of Arrays holds <U1"),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], r"the labels are int32 of shape \(2,\) each"),
        ([None] * 4, r"train\['label'\] of Arrays holds object"),
        ([True, False] * 2, "the labels are bool"),
    ],
    ids=str,
)
def test_labels_are_the_numbers_of_classes(labels, message):
    examples = {"image": IMAGES, "label": np.array(labels)}
    with pytest.raises(Mistake, match=message):
        Classify(MLP((4,))).fitted(load(Arrays(examples, examples, 2)).about)


@pytest.mark.parametrize("momentum", [jnp.float32(0.5), Fraction(1, 2), np.float64(0.5)], ids=repr)
def test_any_kind_of_number_is_one(momentum):
    plan = Coupling(lambda e: 0.1 + 0 * e, num_examples=8, num_epochs=1, batch_size=8)
    assert dataclasses.replace(plan, momentum=momentum).momentum == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Claim(["growing"]), r"baseline of a claim is .*: give .*names of variants"),
        (
            lambda: Claim("a", same="growing"),
            r"same of a claim is 'growing': give .*names of variants",
        ),
        (lambda: Comparison(seeds=3), r"seeds is 3: give .*\(3,\)"),
        (lambda: Comparison(seeds=(-1,)), r"seeds is -1: give a whole number of at least 0"),
        (lambda: Comparison(claims="a"), r"claims is 'a': give .*Claim\("),
        (lambda: Generated(4, 4, (8, 8), 2), r"shape is \(8, 8\): give height, width and channels"),
        (lambda: Arrays({}, {}, 0), r"num_classes is 0: give a whole number of at least 1"),
    ],
    ids=range(7),
)
def test_values_of_other_kinds_are_refused_when_they_are_made(make, message):
    with pytest.raises(Mistake, match=message):
        make()
