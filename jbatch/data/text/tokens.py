"""A text as data for a language model."""

from dataclasses import dataclass, field
from pathlib import Path

from jbatch.data.text.bins import NumberType
from jbatch.errors import Mistake, share, shown, whole


@dataclass(frozen=True)
class Tokens:
    """A text, cut into windows of `sequence` tokens: an example is one window.

    Each epoch cuts the text anew, from another of its first `sequence` tokens on, and shows the
    windows in an order of its own. Evaluation predicts every token once, but the first.

    Examples:
        >>> from pathlib import Path
        >>> data = jbatch.Tokens(Path("input.txt"), sequence=256, tokenizer="bytes")
    """

    train: Path = field(compare=False)  # a moved text is the same text
    """A text file (UTF-8), a .bin file of tokens, or a folder that `jbatch prepare text` wrote."""
    test: Path | None = field(default=None, compare=False)
    """A text file or a .bin file, of the test set. None: the folder's test.bin, or the end of the
    training file."""
    validation: Path | None = field(default=None, compare=False)
    """Text to evaluate on during the run; the test set is then left for its end."""
    sequence: int = field(default=1024, kw_only=True)
    """Tokens of a window. The network predicts each from those before it in the window."""
    tokenizer: str | None = field(default=None, kw_only=True)
    """Of text files: characters, bytes, or the path of a Hugging Face tokenizer.json. None:
    characters. Of a .bin, tokens.json beside it tells."""
    held_out: float = field(default=0.1, kw_only=True)
    """The share at the end of the training file that is the test set, if test is None."""
    vocabulary: int | None = field(default=None, kw_only=True)
    """Number of different tokens, for a .bin without tokens.json."""
    dtype: NumberType = field(default="uint16", kw_only=True)
    """Type of the numbers, of a .bin without tokens.json."""

    def __post_init__(self) -> None:
        for name in ("train", "test", "validation"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        whole("sequence", self.sequence, most=1 << 24)
        if not share("held_out", self.held_out) > 0:
            raise Mistake(f"held_out is {self.held_out}: give a share over 0, such as 0.1")
        if self.vocabulary is not None:
            whole("vocabulary", self.vocabulary, most=1 << 32)
        if self.dtype not in ("uint16", "uint32"):
            raise Mistake(f"dtype is {shown(self.dtype)}: give uint16 or uint32")
