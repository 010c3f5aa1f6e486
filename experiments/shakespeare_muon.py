"""Which power of the batch does Muon's rate follow? A sweep on tiny Shakespeare.

Muon (Jordan et al., 2024; optax.contrib.muon) has no agreed rule: √B, B^0.6 and none are all in
use. The GPT and the text of `shakespeare.py`, at equal tokens: the batch stays at B for the whole
run and the cosine's rate, 0.01 at a batch of 12, is multiplied by (B/12)^p. Matrices of the blocks
take Muon's steps, embeddings and norms Adam's at a tenth of the rate.

Claim:    none. It measures.
Found:    p = 1 at four times the batch, narrowly; p = 1/2 at 16 times, by far (docs/language.md).
Cost:     about 80 seconds on one CPU core a run.
Command:  jbatch sweep experiments/shakespeare_muon.py --grid plan.batch-size=12,48,192 \\
          plan.scaling=0,0.5,1 --seeds 0 1 --data.train tinyshakespeare.txt
          (at a batch of 12 all powers are the same run)
"""

import jax
import optax

from jbatch import GPT, Clipped, Coupling, Experiment, LanguageModel, Tokens

UPDATES, BATCH, SEQUENCE = 2000, 12, 64
TOKENS = BATCH * SEQUENCE  # of an update of the base batch


def muon(rate, momentum):
    """Muon for the matrices of blocks, Adam for all else."""

    def kinds(params):
        return jax.tree.map_with_path(
            lambda path, leaf: "muon" if "blocks" in str(path) and leaf.ndim == 2 else "adam",
            params,
        )

    parts = {
        "muon": optax.contrib.muon(rate, beta=momentum),
        "adam": optax.adam(rate / 10, b1=0.9, b2=0.99),
    }
    return optax.partition(parts, kinds)


variants = {
    "muon": Experiment(
        plan=Coupling(
            optax.warmup_cosine_decay_schedule(1e-4, 1e-2, 100 * TOKENS, UPDATES * TOKENS, 1e-3),
            unit="tokens",
            length=UPDATES * TOKENS,
            num_examples=15_684,
            sequence_length=SEQUENCE,
            batch_size=BATCH,
            base_batch_size=BATCH,
            momentum=0.95,
        ),
        task=LanguageModel(GPT(layers=4, heads=4, width=128)),
        data=Tokens("tinyshakespeare.txt", sequence=SEQUENCE),
        optimizer=Clipped(muon, 1.0),
        log_every=100 * TOKENS,
        eval_every=500 * TOKENS,
        save_every=1000 * TOKENS,
    )
}
