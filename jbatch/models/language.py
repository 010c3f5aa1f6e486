"""A transformer for text as a value, for experiment files; no flax needed."""

from dataclasses import dataclass
from typing import Literal

from jbatch.errors import Mistake, make_plain, share, whole
from jbatch.models.norms import MOST_WIDE
from jbatch.models.specs import MOST_LAYERS

ROUNDED_TO = 64  # the width of SwiGLU's layers, to suit matrix units


@dataclass(frozen=True)
class GPT:
    """A decoder of pre-norm transformer blocks, by default as nanoGPT has it.

    `GPT(bias=True)` on 1,024 tokens of a vocabulary of 50,257 is GPT-2 (124 million parameters).

    Examples:
        >>> task = jbatch.LanguageModel(jbatch.GPT(layers=4, heads=4, positions="rotary"))
    """

    layers: int = 12
    """Blocks of attention and feed-forward layers."""
    heads: int = 12
    """Heads of each attention; they share the width."""
    width: int = 768
    """Numbers of each token between the blocks."""
    positions: Literal["learned", "rotary"] = "learned"
    """How a token knows its place: a learned vector, or rotated queries and keys (RoPE; Su et al.,
    arXiv 2104.09864)."""
    norm: Literal["layer", "rms"] = "layer"
    """The norm before each part of a block, and before the head."""
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    """Feed-forward layers: 4 times the width with GELU, or 8/3 times with SwiGLU (Shazeer, arXiv
    2002.05202), rounded up to a multiple of 64."""
    tied: bool = True
    """Whether the head's weights are those of the token embedding."""
    bias: bool = False
    """Whether linear layers and layer norms have a bias."""
    dropout: float = 0.0
    """Share that is dropped of the embedding, and of what each part of a block adds."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("layers", self.layers, most=MOST_LAYERS)
        whole("heads", self.heads, most=MOST_WIDE)
        whole("width", self.width, most=MOST_WIDE)
        share("dropout", self.dropout)
        if self.width % self.heads:
            raise Mistake(
                f"width {self.width} is no multiple of heads {self.heads}: give one that is"
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise Mistake(
                f"rotary positions turn pairs of numbers, but a head has {self.width // self.heads}"
                ": give a width that is an even multiple of heads"
            )

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layers."""
        if self.feed_forward == "gelu":
            return 4 * self.width
        return -(-8 * self.width // (3 * ROUNDED_TO)) * ROUNDED_TO
