"""The convolution of jbatch's networks, and of yours."""

import operator
from collections.abc import Iterable
from typing import Any

import jax
from jax import lax

from jbatch.errors import Mistake, shown, whole, wholes
from jbatch.models.conv.geometry import NHWC, Geometry
from jbatch.models.conv.primitives import convolution

PLAIN = {  # options of lax.conv_general_dilated, as they are when nobody gave them
    "lhs_dilation": (None, (1, 1)),
    "rhs_dilation": (None, (1, 1)),
    "feature_group_count": (1,),
    "batch_group_count": (1,),
    "precision": (None,),
    "preferred_element_type": (None,),
    "out_sharding": (None,),
}
NAMED = "SAME", "SAME_LOWER", "VALID"


def conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: Any = 1,
    padding: Any = "SAME",
    **options: Any,
) -> jax.Array:
    """Convolve images, as `lax.conv_general_dilated` does but faster on CPUs.

    On CPUs, Winograd's method, plain products, and for few input channels a loop over the terms
    compute the shapes for which they are faster. Results agree to the rounding of their dtype. On
    other platforms, and for `options` other than the defaults, it is `lax.conv_general_dilated`.
    The platform is that of the compiled program.

    A `jax.shard_map` around it needs `check_vma=False`, as jbatch's own has.

    flax layers take it as `nnx.Conv(…, conv_general_dilated=jbatch.conv)`.

    Args:
        x: (N, H, W, C), or one image (H, W, C).
        kernel: (kh, kw, C, K), of the dtype of `x`.
        stride: in pixels, one number or one of rows and one of columns.
        padding: "SAME", "SAME_LOWER", "VALID", or pixels as ((before, after), (before, after)) of
            rows and columns.
        options: of `lax.conv_general_dilated`. `dimension_numbers` are NHWC and HWIO if not given.

    Returns:
        (N, H', W', K), or (H', W', K), in the dtype of `x`.

    Raises:
        Mistake: if stride or padding is none of these.

    Examples:
        >>> image, kernel = np.ones((8, 8, 3), np.float32), np.ones((3, 3, 3, 16), np.float32)
        >>> jbatch.conv(image, kernel, stride=2).shape
        (4, 4, 16)
    """
    numbers = options.pop("dimension_numbers", None) or NHWC
    several = isinstance(stride, Iterable)
    strides = tuple(wholes("stride", stride)) if several else (whole("stride", stride),) * 2
    if x.ndim == 3 and kernel.ndim == 4:
        one: jax.Array = conv(x[None], kernel, strides, padding, **options)[0]
        return one
    if not _plain(x, kernel, numbers, options):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=numbers, **options
        )
    if len(strides) != 2:
        raise Mistake(f"stride is {strides}: give one number, or one for rows and one for columns")
    (_, *image, _), (*size, _, _) = x.shape, kernel.shape
    named = isinstance(padding, str) and padding in NAMED
    pads = lax.padtype_to_pads(image, size, strides, padding) if named else padding
    try:
        (top, bottom), (left, right) = (map(operator.index, edges) for edges in pads)
    except (TypeError, ValueError):
        raise Mistake(
            f"padding is {shown(padding)}: give one of {', '.join(NAMED)}, or pixels as ((before, "
            "after), (before, after)) of rows and columns"
        ) from None
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # set at run time
    (height, width), (rows, columns) = image, size
    edges = (top, bottom), (left, right)
    geometry = Geometry((height, width), (rows, columns), strides, edges, told)
    found: jax.Array = convolution.bind(x, kernel, geometry=geometry)
    return found


def _plain(x: jax.Array, kernel: jax.Array, numbers: Any, options: dict[str, Any]) -> bool:
    """Return whether this is a convolution of images, NHWC and HWIO, without options."""
    if x.ndim != 4 or kernel.ndim != 4 or x.dtype != kernel.dtype or min(x.shape) < 1:
        return False
    given, usual = (
        lax.conv_dimension_numbers(x.shape, kernel.shape, each) for each in (numbers, NHWC)
    )
    return given == usual and all(
        (tuple(value) if isinstance(value, list) else value) in PLAIN.get(name, ())
        for name, value in options.items()
    )
