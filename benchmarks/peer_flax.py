"""Train the same networks with a loop like those of flax's official examples.

It has a step under `nnx.jit` that takes float batches from the host, an `nnx.Optimizer`, and an
epoch's permutation drawn on the host. With `every` over 1, `optax.MultiSteps` accumulates that many
batches.
"""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.turns import Loop


class MLP(nnx.Module):
    """Stack fully connected layers with ReLU."""

    def __init__(self, features: int, hidden: tuple[int, ...], classes: int, dtype, rngs: nnx.Rngs):
        widths = (features, *hidden)
        self.hidden = nnx.List(
            nnx.Linear(a, b, dtype=dtype, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.head = nnx.Linear(widths[-1], classes, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        """Of images (B, H, W, C)."""
        x = x.reshape(len(x), -1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.head(x)


class SmallCNN(nnx.Module):
    """Stack convolutions that each halve the image, with norm and ReLU."""

    def __init__(
        self, channels: int, widths: tuple[int, ...], pixels: int, classes: int, dtype, rngs
    ):
        self.convolutions = nnx.List()
        self.norms = nnx.List()
        for width in widths:
            conv = nnx.Conv(
                channels, width, (3, 3), 2, padding=1, use_bias=False, dtype=dtype, rngs=rngs
            )
            self.convolutions.append(conv)
            self.norms.append(nnx.BatchNorm(width, dtype=dtype, rngs=rngs))
            channels, pixels = width, -(-pixels // 2)
        self.head = nnx.Linear(channels * pixels**2, classes, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        """Of images (B, H, W, C)."""
        for conv, norm in zip(self.convolutions, self.norms, strict=True):
            x = nnx.relu(norm(conv(x)))
        return self.head(x.reshape(len(x), -1))


class Block(nnx.Module):
    """Compute one block of a wide residual network, norm first."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, dtype, rngs: nnx.Rngs):
        def conv(channels: int, size: int, stride: int) -> nnx.Conv:
            how = {"padding": size // 2, "use_bias": False, "dtype": dtype, "rngs": rngs}
            return nnx.Conv(channels, fan_out, (size, size), stride, **how)

        self.norm1 = nnx.BatchNorm(fan_in, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.BatchNorm(fan_out, dtype=dtype, rngs=rngs)
        self.conv1, self.conv2 = conv(fan_in, 3, stride), conv(fan_out, 3, 1)
        self.shortcut = conv(fan_in, 1, stride) if (stride, fan_in) != (1, fan_out) else None

    def __call__(self, x):
        """Of images (B, H, W, C)."""
        y = nnx.relu(self.norm1(x))
        x = x if self.shortcut is None else self.shortcut(y)
        return x + self.conv2(nnx.relu(self.norm2(self.conv1(y))))


class WideResNet(nnx.Module):
    """Build WRN-16-4."""

    def __init__(self, classes: int, dtype, rngs: nnx.Rngs):
        self.stem = nnx.Conv(3, 16, (3, 3), padding=1, use_bias=False, dtype=dtype, rngs=rngs)
        shapes = ((16, 64, 1), (64, 64, 1), (64, 128, 2))
        shapes += ((128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nnx.List(Block(*shape, dtype, rngs) for shape in shapes)
        self.norm = nnx.BatchNorm(256, dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(256, classes, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        """Of images (B, H, W, C)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(nnx.relu(self.norm(x)).mean((1, 2)))


def network(name: str, dtype) -> nnx.Module:
    """Build a network of `benchmarks.workloads` that computes in `dtype`."""
    rngs = nnx.Rngs(0)
    match name:
        case "mlp":
            return MLP(784, (512, 512), 10, dtype, rngs)
        case "cnn":
            return SmallCNN(1, (16, 32, 64), 28, 10, dtype, rngs)
        case "wrn-16-4":
            return WideResNet(10, dtype, rngs)


def sgd() -> optax.GradientTransformation:
    """Return SGD with momentum, which decays all parameters."""
    return optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(1e-3, momentum=0.9))


def accumulating(transformation: optax.GradientTransformation, every: int):
    """Return what takes an update by `transformation` once in `every` batches."""
    return optax.MultiSteps(transformation, every_k_schedule=every) if every > 1 else transformation


def loop(name: str, images: np.ndarray, labels: np.ndarray, size: int, every: int, dtype) -> Loop:
    """Make a loop that takes n updates of `size`, each in `every` batches, and waits for them."""
    images = standardized(images)
    model = network(name, dtype)
    model.train()
    optimizer = nnx.Optimizer(model, accumulating(sgd(), every), wrt=nnx.Param)

    def loss_of(model, images, labels):
        logits = model(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, logits

    @nnx.jit
    def step(model, optimizer, metrics, images, labels):
        (loss, logits), gradients = nnx.value_and_grad(loss_of, has_aux=True)(model, images, labels)
        metrics.update(loss=loss, logits=logits, labels=labels)
        optimizer.update(model, gradients)
        return loss

    metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
    # As in flax's performance guide: cache the graph instead of walking it at each call.
    cached = nnx.cached_partial(step, model, optimizer, metrics)
    batches = shuffled(images, labels, size // every)

    def updates(count: int) -> None:
        for number in range(count * every):
            loss = cached(*next(batches))
            if number % 16 == 15:  # or waiting batches fill the memory
                loss.block_until_ready()
        jax.block_until_ready(loss)

    return updates


def shuffled(images: np.ndarray, labels: np.ndarray, size: int) -> Iterator[tuple]:
    """Yield batches of the epochs' permutations."""
    draw = np.random.default_rng(0)
    while True:
        order = draw.permutation(len(labels))
        for start in range(0, len(labels) - size + 1, size):
            chosen = order[start : start + size]
            yield jnp.asarray(images[chosen]), jnp.asarray(labels[chosen])


def standardized(images: np.ndarray) -> np.ndarray:
    """Standardize images: (N, H, W, C) float32."""
    images = images.astype(np.float32)
    return (images - images.mean()) / images.std()
