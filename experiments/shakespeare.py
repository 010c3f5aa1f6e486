"""A small GPT on tiny Shakespeare by characters, where the batch grows as a cosine decays.

nanoGPT's setting for a CPU: 4 blocks of width 128 (0.8 million parameters), windows of 64
characters, 12 of them in an update, AdamW with β2 = 0.99, clipping to 1, and a cosine from 0.001 to
a tenth of it after 100 updates of warm-up. It trains for 2,000 updates of the base batch, which is
one and a half epochs of the first 90% of the text. nanoGPT reports a validation loss of 1.88
(https://github.com/karpathy/nanoGPT). `growing` doubles the batch, up to eight times, where the
cosine falls by half, as in Smith et al. (arXiv 1711.00489). `seesaw` does so at the square root of
the scaling (arXiv 2510.14717), with AdamW's decay as it is; `seesaw-held` lets the decay follow,
which nobody has published. Controls: `constant` keeps rate and batch, `large` begins with the
largest batch at the same rates, `both` decays the rate and grows the batch.

Claim:    growing ends within 0.01 nats of cosine (95% interval of the differences paired by seed,
          ten seeds), and so do seesaw and seesaw-held; the controls end higher by more.
Found:    cosine 1.904 ± 0.006; all as claimed: growing 0.0003 above it, seesaw and seesaw-held
          0.003 and 0.004, controls (five seeds, and two of large) 0.02 to 0.38 (docs/language.md).
Cost:     80 seconds on one CPU core per run.
Command:  jbatch compare experiments/shakespeare.py --data.train tinyshakespeare.txt
          (data/tinyshakespeare/input.txt of karpathy/char-rnn)
"""

import optax

from jbatch import (
    GPT,
    AdamW,
    Claim,
    Clipped,
    Comparison,
    Coupling,
    Experiment,
    LanguageModel,
    Tokens,
)

UPDATES, BATCH, SEQUENCE = 2000, 12, 64
TOKENS = BATCH * SEQUENCE  # of an update of the base batch
COSINE = optax.warmup_cosine_decay_schedule(1e-5, 1e-3, 100 * TOKENS, UPDATES * TOKENS, 1e-4)
FLAT = optax.warmup_constant_schedule(1e-5, 1e-3, 100 * TOKENS)
GROWING = {"batch_size": BATCH, "growth_factor": 2, "max_batch_size": 8 * BATCH}

SETTINGS = {  # schedule, and how the batch follows it
    "cosine": (COSINE, {"batch_size": BATCH}),
    "growing": (COSINE, GROWING),
    "seesaw": (COSINE, GROWING | {"scaling": 0.5}),
    "seesaw-held": (COSINE, GROWING | {"hold": "seesaw"}),
    "constant": (FLAT, {"batch_size": BATCH}),
    "large": (COSINE, {"batch_size": 8 * BATCH}),
    "both": (COSINE, GROWING | {"scaling": 0.0}),
}


variants = {
    name: Experiment(
        plan=Coupling(
            schedule,
            unit="tokens",
            length=UPDATES * TOKENS,
            num_examples=15_684,
            sequence_length=SEQUENCE,
            momentum=0.9,
            **sizes,
        ),
        task=LanguageModel(GPT(layers=4, heads=4, width=128)),
        data=Tokens("tinyshakespeare.txt", sequence=SEQUENCE),
        optimizer=Clipped(AdamW(b2=0.99, weight_decay=0.1), 1.0),
        log_every=100 * TOKENS,
        eval_every=250 * TOKENS,
        save_every=500 * TOKENS,
    )
    for name, (schedule, sizes) in SETTINGS.items()
}

comparison = Comparison(
    (
        Claim(
            "cosine",
            same=("growing", "seesaw", "seesaw-held"),
            different=("constant", "large", "both"),
        ),
    ),
    metric="loss",
    better="lower",
    margin=0.01,
    seeds=tuple(range(10)),
)
