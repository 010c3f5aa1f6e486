"""A small GPT whose batch grows by its measured noise scale, against a fixed plan.

The setting of shakespeare.py: 0.8 million parameters, windows of 64 characters, AdamW, 2,000
updates of 12 windows under a cosine. `cosine` keeps the batch. `growing` doubles it where the
cosine falls by half, up to 96. `noise_scale` decides every 50 updates, among the same sizes, for
the largest within one measured gradient noise scale (McCandlish et al., arXiv 1812.06162); its rate
grows with the batch, above the peak of the cosine too. `noise_scale-root` lets the rate grow by the
square root, which is the rule for Adam (Malladi et al., arXiv 2205.10287).

Claim:    after the same tokens, noise_scale and noise_scale-root are within 0.01 nats of growing
          (95% interval of the differences paired by seed, five seeds).
Found:    noise_scale ends 0.014 nats below growing and noise_scale-root 0.010 above it, in 15 and
          17% fewer updates; whether within 0.01, five seeds do not decide
          (docs/studies_noise.md).
Cost:     90 seconds on one CPU core per run.
Command:  jbatch compare experiments/shakespeare_adaptive.py --data.train tinyshakespeare.txt
          (data/tinyshakespeare/input.txt of karpathy/char-rnn)
"""

import optax

from jbatch import (
    GPT,
    AdamW,
    Adaptive,
    Claim,
    Clipped,
    Comparison,
    Coupling,
    Experiment,
    LanguageModel,
    NoiseScale,
    Tokens,
)

UPDATES, BATCH, SEQUENCE = 2000, 12, 64
TOKENS = BATCH * SEQUENCE  # of an update of the base batch
COSINE = optax.warmup_cosine_decay_schedule(1e-5, 1e-3, 100 * TOKENS, UPDATES * TOKENS, 1e-4)

SETTINGS = {  # largest batch size, scaling of the rate, rule
    "cosine": (BATCH, 1.0, None),
    "growing": (8 * BATCH, 1.0, None),
    "noise_scale": (8 * BATCH, 1.0, NoiseScale(target=1.0)),
    "noise_scale-root": (8 * BATCH, 0.5, NoiseScale(target=1.0)),
}

variants = {
    name: Experiment(
        plan=Coupling(
            COSINE,
            unit="tokens",
            length=UPDATES * TOKENS,
            num_examples=15_684,
            sequence_length=SEQUENCE,
            momentum=0.9,
            batch_size=BATCH,
            growth_factor=2,
            max_batch_size=largest,
            scaling=scaling,
        ),
        task=LanguageModel(GPT(layers=4, heads=4, width=128)),
        data=Tokens("tinyshakespeare.txt", sequence=SEQUENCE),
        optimizer=Clipped(AdamW(b2=0.99, weight_decay=0.1), 1.0),
        micro_batch=6,  # an update has at least two parts, from which its noise is measured
        measure_noise=rule is not None,
        adaptive=rule and Adaptive(rule, every=50),
        log_every=100 * TOKENS,
        eval_every=250 * TOKENS,
        save_every=500 * TOKENS,
    )
    for name, (largest, scaling, rule) in SETTINGS.items()
}

comparison = Comparison(
    (Claim("growing", same=("noise_scale", "noise_scale-root")),),
    metric="loss",
    better="lower",
    margin=0.01,
    seeds=(0, 1, 2, 3, 4),
)
