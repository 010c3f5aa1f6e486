"""Several views of a test image, whose logits are averaged."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jbatch.errors import Mistake, make_plain, whole

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True)
class Views:
    """What a network sees of a test image; its logits are averaged (test-time augmentation).

    Examples:
        >>> task = jbatch.Classify(jbatch.Airbench(), views=jbatch.Views(flip=True, shift=1))
    """

    flip: bool = False
    """The image and its mirror image, half of the weight each."""
    shift: int = 0
    """Half of the weight to the image moved by so many pixels, up and left and down and right; its
    edges are reflected (Jordan, arXiv 2404.00498, with 1)."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("shift", self.shift, least=0, most=1024)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise Mistake for images (H, W, C) too small to be reflected so far."""
        if self.shift and self.shift >= min(shape[:2]):
            raise Mistake(
                f"views.shift is {self.shift}, but images of {shape[0]}×{shape[1]} pixels can be "
                f"moved by at most {min(shape[:2]) - 1}: give a smaller one"
            )


def seen(views: Views, images: "jax.Array") -> "list[tuple[float, jax.Array]]":
    """Return the views of images (B, H, W, C), each with its weight; the first is unchanged."""
    import jax.numpy as jnp  # here, so that reading an experiment file does not import JAX

    found = [(1.0, images)]
    if views.shift:
        by, (_, height, width, _) = views.shift, images.shape
        around = ((0, 0), (by, by), (by, by), (0, 0))
        padded = jnp.pad(images, around, "reflect")
        found = [(0.5, images)] + [
            (0.25, padded[:, start : start + height, start : start + width])
            for start in (0, 2 * by)
        ]
    if views.flip:
        found = [(weight / 2, each) for weight, view in found for each in (view, view[:, :, ::-1])]
    return found
