"""What must follow the batch under Adam, on a language model: one growth by 16, late in training.

The protocol of a test of the square-root rule (Malladi et al., arXiv 2205.10287): late, gradients
are mostly noise, and then a run should not notice a larger batch. The GPT and the text of
`shakespeare.py`, at a constant rate after its warm-up and without weight decay, in batches of 12.
After three quarters of the tokens the batch grows to 192 and the rate by √16: with β1, β2 and ε as
they are ("nothing"), by Malladi's rule, or with both half-lives held in examples. "small" stays at
12. β1 = 0.98, because Malladi's rule for 0.9 ends at a ratio of 10.

Claim:    malladi and half-life end with the same loss, to within 0.01 nats (95% interval of the
          differences paired by seed, three seeds), and both nearer to small than nothing does.
Found:    the first part is undecided; the second is not so in the mean: malladi ends 0.10 nats
          above small, farther than nothing (0.08); half-life 0.07. Gradients here are not mostly
          noise (docs/language.md).
Cost:     80 seconds on one CPU core per run.
Command:  jbatch compare experiments/shakespeare_follow.py --data.train tinyshakespeare.txt
"""

import optax

from jbatch import (
    GPT,
    Adam,
    Claim,
    Clipped,
    Comparison,
    Coupling,
    Experiment,
    Hold,
    LanguageModel,
    Tokens,
)

UPDATES, BATCH, SEQUENCE, RATIO = 2000, 12, 64, 16
TOKENS = BATCH * SEQUENCE  # of an update of the base batch
RAMP = {0: BATCH, 3 * UPDATES // 4 * TOKENS: RATIO * BATCH}

SETTINGS = {  # batch sizes by token, what follows
    "small": ({0: BATCH}, None),
    "nothing": (RAMP, None),
    "malladi": (RAMP, "malladi"),
    "half-life": (RAMP, Hold(momentum="half_life", b2="half_life")),
}

variants = {
    name: Experiment(
        plan=Coupling(
            optax.warmup_constant_schedule(1e-5, 5e-4, 100 * TOKENS),
            unit="tokens",
            length=UPDATES * TOKENS,
            num_examples=15_684,
            sequence_length=SEQUENCE,
            ramp=ramp,
            momentum=0.98,
            hold=hold,
            scaling=0.5,
        ),
        task=LanguageModel(GPT(layers=4, heads=4, width=128)),
        data=Tokens("tinyshakespeare.txt", sequence=SEQUENCE),
        optimizer=Clipped(Adam(b2=0.99), 1.0),
        log_every=100 * TOKENS,
        eval_every=250 * TOKENS,
        save_every=500 * TOKENS,
    )
    for name, (ramp, hold) in SETTINGS.items()
}

comparison = Comparison(
    (Claim("malladi", same=("half-life",), different=("nothing",)),),
    metric="loss",
    better="lower",
    margin=0.01,
    seeds=(0, 1, 2),
)
