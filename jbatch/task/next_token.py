"""The next token of a text: a language model's network and its cross-entropy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jbatch.data.batch import Example
from jbatch.data.text.corpus import check_examples
from jbatch.data.text.tokenizer import Tokenizer
from jbatch.errors import Mistake
from jbatch.models.gpt import GPTNetwork
from jbatch.models.language import GPT
from jbatch.task.base import Scores, means
from jbatch.task.classifier import precision
from jbatch.task.modules import called
from jbatch.task.network import ModuleTask

if TYPE_CHECKING:
    from jbatch.task.language_model import LanguageModel


MOST_NATS = 80  # of a loss whose perplexity is worth a number


@dataclass(frozen=True)
class Built:
    """A GPT for a text, as a function of rngs; hashable."""

    gpt: GPT
    vocabulary: int
    sequence: int
    dtype: str

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        """Return the network with initial parameters."""
        return GPTNetwork(self.gpt, self.vocabulary, self.sequence, self.dtype, rngs=rngs)


@dataclass(frozen=True)
class NextToken(ModuleTask):
    """`LanguageModel` for a text."""

    task: "LanguageModel"
    vocabulary: int  # number of different tokens
    sequence: int  # T, tokens that an example predicts
    tokenizer: Tokenizer | None  # None if only the numbers of tokens are known

    @property
    def module(self) -> Any:
        """What builds the network."""
        model = self.task.model
        if not isinstance(model, GPT):
            return model
        return Built(model, self.vocabulary, self.sequence, self.task.dtype)

    def check(self, what: str, examples: Example) -> None:
        """Raise Mistake for a token outside of the vocabulary, or an impossible count."""
        check_examples(what, examples, self.vocabulary)

    def output(self, network: Any, example: Example, train: bool = False) -> jax.Array:
        """Return the logits (T, vocabulary) of each token but the first of an example."""
        with precision(self.task.dtype):
            logits: jax.Array = called(network, example["tokens"][:-1].astype(jnp.int32), train)
        return logits

    def call(self, network: Any, example: Example, key: jax.Array | None) -> Scores:
        """Return one example's summed cross-entropy in nats, and its number of tokens."""
        logits = self.output(network, example, key is not None)
        shape = (self.sequence, self.vocabulary)
        if logits.shape != shape:
            raise Mistake(
                f"the network returns logits of shape {logits.shape} for {self.sequence} tokens of "
                f"a vocabulary of {self.vocabulary:,}: return {shape}, without a batch axis"
            )
        targets = example["tokens"][1:].astype(jnp.int32)
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits.astype(jnp.float32), targets
        )
        count = example.get("count", jnp.int32(self.sequence)).astype(jnp.int32)
        count = jnp.clip(count, 0, self.sequence)
        predicted = jnp.arange(self.sequence, dtype=jnp.int32) < count
        loss = jnp.where(predicted, losses, 0).sum()
        if "bytes" not in example:
            return Scores(loss, count)
        return Scores(loss, count, {"bits_per_byte": (loss / math.log(2), example["bytes"])})

    def finish(self, sums: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
        """Return the means, and perplexity: e to the power of the loss."""
        found = means(sums)
        if found.get("loss", math.inf) < MOST_NATS:
            found["perplexity"] = math.exp(found["loss"])
        return found
