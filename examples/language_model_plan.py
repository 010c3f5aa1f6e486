"""The batches and rates of a language model, planned in tokens.

The text is a stream without epochs, so the plan has a length in tokens and no N. There is no model
here: print the plan, or take its rows into a trainer of your own (docs/plans.md).
experiments/shakespeare.py trains one (docs/language.md).

    jbatch plan examples/language_model_plan.py ramp
    jbatch plan examples/language_model_plan.py seesaw --plan.length 100e9
"""

import optax

import jbatch

TOKENS = 300e9
LENGTHS = {"unit": "tokens", "length": TOKENS, "sequence_length": 2048}

# Rate over tokens: 375M tokens of warm-up, then a cosine to a tenth (GPT-3, arXiv 2005.14165).
cosine = optax.warmup_cosine_decay_schedule(0.0, 6e-4, 375_000_000, int(TOKENS), 6e-5)

variants = {
    # GPT-3's batches in Megatron-LM's notation; the rate stays the schedule's.
    "ramp": jbatch.Experiment(
        plan=jbatch.Coupling(
            cosine,
            **LENGTHS,
            ramp="0:16 2.4B:320 4.8B:624 7.2B:928 9.6B:1232 12B:1536",
            momentum=0.9,
            scaling=0.0,
        )
    ),
    # The batch grows where the cosine decays, as in Seesaw (arXiv 2510.14717).
    "seesaw": jbatch.Experiment(
        plan=jbatch.Coupling(
            cosine,
            **LENGTHS,
            batch_size=512,
            growth_factor=2,
            max_batch_size=4096,
            momentum=0.9,
            scaling=0.5,
        )
    ),
}
