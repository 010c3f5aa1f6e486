"""Audio: WAV files, cut at random by worker processes; a network of 1-D convolutions.

The three classes are a steady, a rising and a falling tone in noise, made here.
"""

import io

import numpy as np
import optax
from flax import nnx
from scipy.io import wavfile

import jbatch

RATE, LENGTH = 4000, 800  # samples a second, samples that the network hears


def tone(number):
    """Write a WAV file of 0.3 s in memory; stands for a file of your own."""
    rng, kind = np.random.default_rng(number), number % 3
    time = np.arange(1200) / RATE
    frequency = rng.uniform(200, 600) * (1 + (0, 2, -1)[kind] * time)
    wave = np.sin(2 * np.pi * np.cumsum(frequency) / RATE) + rng.normal(0, 0.3, 1200)
    file = io.BytesIO()
    wavfile.write(file, RATE, np.int16(8000 * wave))
    return file.getvalue(), kind


def load(record, rng):
    """Decode a file, and cut a part out of it: at random in training."""
    content, kind = record
    _, wave = wavfile.read(io.BytesIO(content))
    start = (len(wave) - LENGTH) // 2 if rng is None else rng.integers(len(wave) - LENGTH)
    heard = wave[start : start + LENGTH].astype(np.float32) / 8000
    return {"image": heard[:, None], "label": kind}


class Ear(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List(
            nnx.Conv(fan_in, fan_out, (9,), strides=4, rngs=rngs)
            for fan_in, fan_out in ((1, 16), (16, 32), (32, 32))
        )
        self.head = nnx.Linear(13 * 32, 3, rngs=rngs)

    def __call__(self, heard):
        for layer in self.layers:
            heard = nnx.relu(layer(heard))
        return self.head(heard.reshape(-1))


variants = {
    "grow": jbatch.Experiment(
        plan=jbatch.Coupling(
            optax.cosine_decay_schedule(3e-3, 12),
            num_epochs=12,
            batch_size=16,
            growth_factor=2,
            max_batch_size=64,
            momentum=0.9,
        ),
        task=jbatch.Classify(Ear, normalize="none"),
        data=jbatch.Source(
            train=[tone(number) for number in range(480)],
            test=[tone(number) for number in range(480, 600)],
            load=load,
            num_classes=3,
            workers=1,
        ),
        optimizer=jbatch.Adam(),
        log_every=4,
        eval_every=4,
    )
}
