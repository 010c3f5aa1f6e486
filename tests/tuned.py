"""Fine-tuning with a validation set, small enough for a test; jbatch runs it beside `first`."""

from dataclasses import replace
from pathlib import Path

import jax
import optax

from jbatch import Arrays, Coupling, Digits, Weights
from tiny import variants as tiny

digits = Digits().load()
first = tiny["growing"]


def part(*places):
    return jax.tree.map(lambda leaf: leaf[slice(*places)], digits.train)


variants = {
    "first": replace(first, plan=replace(first.plan, num_epochs=1)),
    "tuned": replace(
        first,
        plan=Coupling(optax.constant_schedule(0.01), num_epochs=2, batch_size=40, momentum=0.9),
        data=Arrays(part(1300), digits.test, validation=part(1300, None)),
        init=Weights(str(Path(__file__).parent / "first"), drop=("head",)),
    ),
}
