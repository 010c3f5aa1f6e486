"""Language models: what a person writes, and what suits a text."""

from dataclasses import dataclass
from typing import Any

from jbatch.data.about import About
from jbatch.data.text.corpus import check_examples
from jbatch.errors import Mistake, make_plain
from jbatch.models.language import GPT
from jbatch.task.base import Task
from jbatch.task.classify import Dtype


@dataclass(frozen=True)
class LanguageModel(Task):
    """Predict each token from those before it by cross-entropy, on examples of `Tokens`.

    The loss is in nats per token, and an update divides by its number of tokens. Other scores are
    perplexity and, if the data knows the size of its text, bits_per_byte.

    Other data may have examples {"tokens": (T + 1,), "count": integer, "bytes": number}. The first
    `count` tokens after the first are predicted; without it, all T are.

    Examples:
        >>> task = jbatch.LanguageModel(jbatch.GPT(layers=4, heads=4, width=128))
    """

    model: Any = GPT()  # noqa: RUF009 - frozen
    """The network: a GPT, or your own, as a flax linen module or a function of rngs that returns an
    nnx module. It is called with tokens (T,) int32 and returns logits (T, vocabulary)."""
    dtype: Dtype = "float32"
    """Type that a GPT computes in. Parameters and the loss stay float32. In your own network, set
    the dtype of its layers instead."""

    def __post_init__(self) -> None:
        make_plain(self)
        if isinstance(self.model, GPT):
            return
        from jbatch.task.modules import module_of  # here: it imports flax, which plans do not need

        module_of(self.model)
        if self.dtype != "float32":
            raise Mistake(
                f"dtype is {self.dtype}, which would change nothing: in your own network, set the "
                "dtype of its layers, such as nnx.Linear(…, dtype=jnp.bfloat16)"
            )

    def fitted(self, about: About) -> Task:
        """Return the task for a text.

        Raises:
            Mistake: if the data has no tokens, does not say how many there are, or has others.
        """
        example = about.example.tree
        tokens = example.get("tokens") if isinstance(example, dict) else None
        if tokens is None or len(tokens.shape) != 1 or tokens.dtype.kind not in "iu":
            raise Mistake(
                "LanguageModel wants examples with 'tokens', integers of shape (T + 1,), but the "
                f"dataset's are {about.example}: give Tokens(…), or name them so"
            )
        if tokens.shape[0] < 2:
            raise Mistake(
                "the examples have one token, so that none is predicted: give longer ones"
            )
        if about.num_classes is None:
            raise Mistake(
                "the number of different tokens is not known: give num_classes with the data"
            )
        for what, split in (("training", about.train), ("test", about.test)):
            if split is not None:
                check_examples(what, split, about.num_classes)
        from jbatch.task.network import OfModule  # here: as above
        from jbatch.task.next_token import NextToken

        length = tokens.shape[0] - 1
        task = NextToken(self, about.num_classes, length, about.tokenizer)
        return OfModule(task, about.example)
