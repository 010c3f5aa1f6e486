"""Fine-tuning: begin with another run's weights, leave out its head, freeze its first layer.

First train `odd`, which tells odd digits from even ones. Then `digits` begins with its weights:

    jbatch train examples/fine_tuning.py odd --run-dir runs/odd
    jbatch train examples/fine_tuning.py digits
"""

import optax
from flax import nnx
from sklearn.datasets import load_digits

import jbatch


class Net(nnx.Module):
    def __init__(self, classes, rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.second = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, image):
        x = nnx.relu(self.first(image.reshape(-1)))
        return self.head(nnx.relu(self.second(x)))


images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1)
plan = jbatch.Coupling(
    optax.cosine_decay_schedule(0.05, 8), num_epochs=8, batch_size=32, momentum=0.9
)


def experiment(classes, labels, **changes):
    """Make an experiment that tells classes apart."""
    return jbatch.Experiment(
        plan,
        task=jbatch.Classify(lambda rngs: Net(classes, rngs)),
        data=jbatch.Arrays(
            train={"image": images[:1500], "label": labels[:1500]},
            test={"image": images[1500:], "label": labels[1500:]},
        ),
        **changes,
    )


variants = {
    "odd": experiment(2, digits % 2),
    "digits": experiment(
        10, digits, init=jbatch.Weights("runs/odd", drop=("head",), freeze=("first",))
    ),
}
