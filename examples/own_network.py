"""Your own network on your own arrays."""

import optax
from flax import nnx
from sklearn.datasets import load_digits

import jbatch


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(64, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, pixels):  # of one image: no batch axis
        return self.out(nnx.relu(self.hidden(pixels)))


x, y = load_digits(return_X_y=True)
data = jbatch.Arrays({"image": x[:1500], "label": y[:1500]}, {"image": x[1500:], "label": y[1500:]})
schedule = optax.piecewise_constant_schedule(0.1, {6: 1 / 4, 9: 1 / 4})
plan = jbatch.Coupling(schedule, num_epochs=12, batch_size=32, growth_factor=4, momentum=0.9)
variants = {"grow": jbatch.Experiment(plan, task=jbatch.Classify(Net), data=data)}
