"""nanoGPT's setting for a CPU, which the loops of `benchmarks.peers` train on random tokens.

4 blocks of width 128 and 4 heads, windows of 64 tokens, AdamW and a gradient clipped to 1; as many
tokens, and as many different ones, as the first 90% of tiny Shakespeare has.
"""

from pathlib import Path

import numpy as np
import optax

from benchmarks.workloads import ENDLESS
from jbatch.data.text.tokens import Tokens
from jbatch.experiment.experiment import Coupling, Experiment
from jbatch.models.language import GPT
from jbatch.optim import AdamW
from jbatch.run.build import counted
from jbatch.task.classify import Dtype
from jbatch.task.language_model import LanguageModel

NETWORK = GPT(layers=4, heads=4, width=128)
VOCABULARY, SEQUENCE, TOKENS = 65, 64, 1_003_854
RATE, BETAS, DECAY, CLIP = 1e-3, (0.9, 0.99), 0.1, 1.0


def text() -> np.ndarray:
    """Return random tokens, (TOKENS,) uint16, from seed 0."""
    return np.random.default_rng(0).integers(0, VOCABULARY, TOKENS, dtype=np.uint16)


def windows(tokens: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return a batch of windows and one token more, (B, SEQUENCE + 1) int32."""
    return tokens[starts[:, None] + np.arange(SEQUENCE + 1)].astype(np.int32)


def experiment(folder: Path, size: int, dtype: Dtype = "float32", **changes) -> Experiment:
    """Make an experiment of endless training at one batch size; its text goes to `folder`.

    It logs once an epoch, and saves every ten.
    """
    text().tofile(folder / "train.bin")
    text()[:1000].tofile(folder / "test.bin")
    plan = Coupling(
        optax.constant_schedule(RATE),
        num_epochs=ENDLESS * size * SEQUENCE / TOKENS,
        batch_size=size,
        momentum=BETAS[0],
    )
    return counted(
        Experiment(
            plan,
            task=LanguageModel(NETWORK, dtype=dtype),
            data=Tokens(
                folder / "train.bin",
                folder / "test.bin",
                sequence=SEQUENCE,
                vocabulary=VOCABULARY,
            ),
            optimizer=clipped,
            eval_every=ENDLESS,
            **changes,
        )
    )


def clipped(rate, momentum):
    """AdamW on a gradient of norm `CLIP` at most, as jbatch's own loop takes it."""
    adam = AdamW(b2=BETAS[1], weight_decay=DECAY)(rate, momentum)
    return optax.chain(optax.clip_by_global_norm(CLIP), adam)
