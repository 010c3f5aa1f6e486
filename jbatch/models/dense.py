"""The product of a fully connected layer, and its gradients.

The gradient by a kernel is a product across rows. XLA's CPU compiler transposes its first operand,
and computes what makes that operand once more as it does so. JAX puts the gradient of the output
first: for the wide layer of a GPT, this took longer than all products. Here, the array of fewer
columns comes first where there are more than two axes. Of two, as in an MLP, XLA's own is faster.

The kernel of a head has few columns. XLA's product for it is 5 to 11 times slower than that of its
transpose, which the barrier keeps XLA from turning round (measured with 10 classes, jax 0.10.1).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jbatch.models.bilinear import Maps, primitives

HEAD = 32  # columns, at most


def dot_general(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None, **options: Any
) -> jax.Array:
    """Compute `lax.dot_general`, faster on CPUs where it is the product of a layer.

    That is the last axis of `x` (…, C) with the first of `kernel` (C, K), without options. Results
    and gradients agree to the rounding of their dtype. The platform is that of the compiled
    program. A `jax.shard_map` around it needs `check_vma=False`, as jbatch's own has.

    flax layers take it as `nnx.Linear(…, dot_general=jbatch.dot_general)`.

    Examples:
        >>> x, kernel = np.ones((5, 3), np.float32), np.ones((3, 2), np.float32)
        >>> jbatch.dot_general(x, kernel, (((1,), (0,)), ((), ()))).shape
        (5, 2)
    """
    contracted, batched = dimension_numbers
    last = ((x.ndim - 1,), (0,))
    plain = tuple(map(tuple, contracted)) == last and not any(map(tuple, batched))
    given = [value for value in (precision, *options.values()) if value is not None]
    if not plain or given or kernel.ndim != 2 or x.dtype != kernel.dtype or x.ndim < 1:
        return lax.dot_general(x, kernel, dimension_numbers, precision, **options)
    return product(x, kernel)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return x · kernel, (…, C), (C, K) → (…, K), of one dtype."""
    if x.ndim == 1:  # an example, as a network sees it that is mapped over examples
        return product(x[None], kernel)[0]
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # set at run time
    found: jax.Array = PRODUCTS[0].bind(x, kernel, precision=told)
    return found


def across(x: jax.Array, g: jax.Array) -> jax.Array:
    """Return xᵀg, (R, C), (R, K) → (C, K), from a product whose first operand is the narrower."""
    return x.T @ g if x.shape[1] <= g.shape[1] else (g.T @ x).T


def _told(of: Any) -> Any:
    def computed(a: jax.Array, b: jax.Array, *, precision: str | None) -> jax.Array:
        with jax.default_matmul_precision(precision):
            found: jax.Array = of(a, b)
        return found

    return computed


def _by_kernel(x: jax.Array, g: jax.Array) -> jax.Array:
    leading = tuple(range(x.ndim - 1))
    return lax.dot_general(x, g, ((leading, leading), ((), ())))


def _by_kernel_on_cpu(x: jax.Array, g: jax.Array) -> jax.Array:
    rows = math.prod(x.shape[:-1])
    seen, sent = x.reshape(rows, x.shape[-1]), g.reshape(rows, g.shape[-1])
    if sent.shape[1] <= min(HEAD, seen.shape[1]):
        transposed: jax.Array = lax.optimization_barrier(sent.T @ seen)
        return transposed.T
    return across(seen, sent) if x.ndim > 2 else _by_kernel(x, g)


# Leading axes stay as they are: where they are padded, as on TPUs, to join them would be a copy.
_stock = Maps(_told(jnp.matmul), _told(lambda g, kernel: g @ kernel.T), _told(_by_kernel))
PRODUCTS = primitives("dense", _stock, _stock._replace(kernel_gradient=_told(_by_kernel_on_cpu)))
