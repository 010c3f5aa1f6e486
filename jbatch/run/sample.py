"""Continue a text with a trained language model."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbatch.errors import Mistake, not_negative, whole
from jbatch.run.trained import Trained
from jbatch.task.base import Task, Tree
from jbatch.task.network import OfModule
from jbatch.task.next_token import NextToken

COLD = 1e-6  # a temperature at which float32 logits would overflow: as 0


def sample(
    model: Trained,
    prompt: str,
    *,
    tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """Return how a language model continues a text; the same arguments give the same text.

    Each step computes a whole window again, so it has one shape and compiles once.

    Args:
        model: of `jbatch.load`, trained as a LanguageModel.
        prompt: the text's beginning. Of a long one, the last window counts.
        tokens: number of tokens to add.
        temperature: divides the logits; 0 takes the likeliest token each time.
        top_k: draw from the so many likeliest tokens; None: from all.
        seed: of the draws.

    Raises:
        Mistake: if the model is no language model, its tokenizer is not known, or an argument is
            out of range.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("input.txt").write_text("to be or not to be, that is the question. " * 100)
        >>> plan = jbatch.Coupling(lambda epoch: 0.01, num_epochs=2, batch_size=16)
        >>> task = jbatch.LanguageModel(jbatch.GPT(layers=1, heads=2, width=32))
        >>> data = jbatch.Tokens(Path("input.txt"), sequence=32)
        >>> run = jbatch.fit(jbatch.Experiment(plan, task, data, jbatch.AdamW()), "runs/text")
        >>> len(jbatch.sample(jbatch.load("runs/text"), "to be ", tokens=10))
        10
    """
    task = model.learner.task
    if not (isinstance(task, OfModule) and isinstance(task.task, NextToken)):
        raise Mistake("this run trained no LanguageModel: give a run whose task is one")
    tokenizer, sequence = task.task.tokenizer, task.task.sequence
    if tokenizer is None:
        raise Mistake(
            "the data of this run did not say what its tokens are: train on a folder of `jbatch "
            "prepare text`, or give tokenizer with the data"
        )
    whole("tokens", tokens)
    whole("seed", seed, least=0, most=2**32 - 1)
    not_negative("temperature", temperature)
    if top_k is not None:
        top_k = min(whole("top_k", top_k), tokenizer.size)
    ids = tokenizer.encode(prompt).tolist()
    if not ids:
        raise Mistake("the prompt is empty: give at least one token, such as a line break")
    step = _step(task, tokenizer.size, top_k, greedy=temperature < COLD)
    key = jax.random.key(seed, impl="threefry2x32")
    begun = len(ids)
    for number in range(tokens):
        shown = ids[-sequence:]
        window = np.zeros(sequence + 1, model.learner.example.tree["tokens"].dtype)
        window[: len(shown)] = shown
        drawn = step(
            model.params,
            model.state,
            window,
            np.int32(len(shown) - 1),
            jax.random.fold_in(key, number),
            np.float32(temperature or 1),
        )
        ids.append(int(drawn))
    return tokenizer.decode(ids[begun:])


@lru_cache(8)
def _step(task: Task, size: int, top_k: int | None, greedy: bool) -> Callable[..., jax.Array]:
    """Return a compiled function that draws the token after place `last` of a window."""

    @jax.jit
    def step(
        params: Tree,
        state: Tree,
        window: jax.Array,
        last: jax.Array,
        key: jax.Array,
        temperature: jax.Array,
    ) -> Any:
        logits = task.predict(params, state, {"tokens": window})[last, :size]
        logits = logits.astype(jnp.float32) / temperature
        if greedy:
            return logits.argmax()
        if top_k is not None:
            least = jax.lax.top_k(logits, top_k)[0][-1]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return jax.random.categorical(key, logits)

    return step
