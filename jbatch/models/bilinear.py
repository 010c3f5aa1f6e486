"""Layers with a kernel and their gradients, as operations that platforms compute their own way.

T(x, kernel, g) = Σ g · layer(x, kernel) is linear in each of its three arrays. Given two of them,
its gradient by the third is one of three bilinear maps: the layer, the input gradient and the
kernel gradient. The gradients of each are the other two. So derivatives of any order, forward or
reverse, stay among the three.

They are primitives of JAX and not functions with `jax.custom_vjp` for two reasons. A lowering rule
sees the platform that a program is compiled for, which need not be one of this machine. And under
`jax.vmap` a custom gradient by the kernel would be computed for each example and then summed; here
the examples become one batch before anything is differentiated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Map = Callable[..., jax.Array]  # (array, array, **given) → array; `given` is static and hashable


class Maps(NamedTuple):
    """What computes the three maps. The first axis of x and of g is that of examples."""

    layer: Map  # (x, kernel) → output
    input_gradient: Map  # (g, kernel) → x
    kernel_gradient: Map  # (x, g) → kernel


def primitives(name: str, anywhere: Maps, cpu: Maps) -> tuple[Any, Any, Any]:
    """Make the primitives of a layer, computed by `cpu` on CPUs and by `anywhere` elsewhere."""
    names = (name, f"{name}_input_gradient", f"{name}_kernel_gradient")
    layer, by_input, by_kernel = map(_primitive, names, anywhere, cpu)
    # The gradient by the first argument, then by the second, from that of the result.
    ad.defbilinear(
        layer,  # (x, kernel) → g
        lambda g, x, kernel, **given: by_input.bind(g, kernel, **given),
        lambda g, x, kernel, **given: by_kernel.bind(x, g, **given),
    )
    ad.defbilinear(
        by_input,  # (g, kernel) → x
        lambda x, g, kernel, **given: layer.bind(x, kernel, **given),
        lambda x, g, kernel, **given: by_kernel.bind(x, g, **given),
    )
    ad.defbilinear(
        by_kernel,  # (x, g) → kernel
        lambda kernel, x, g, **given: by_input.bind(g, kernel, **given),
        lambda kernel, x, g, **given: layer.bind(x, kernel, **given),
    )
    for made, stock in ((layer, anywhere.layer), (by_input, anywhere.input_gradient)):
        batching.primitive_batchers[made] = partial(_over_examples, made, stock)
    batching.primitive_batchers[by_kernel] = partial(_mapped, anywhere.kernel_gradient)
    return layer, by_input, by_kernel


def _primitive(name: str, anywhere: Map, cpu: Map) -> Any:
    made: Any = Primitive(name)
    made.def_impl(lambda a, b, **given: _alone(made, tuple(given.items()), a, b))
    made.def_abstract_eval(partial(_shape, anywhere))
    for platform, computed in ((None, anywhere), ("cpu", cpu)):
        rule = mlir.lower_fun(computed, multiple_results=False)
        mlir.register_lowering(made, rule, platform=platform)
    return made


@partial(jax.jit, static_argnums=(0, 1))
def _alone(
    primitive: Any, given: tuple[tuple[str, Any], ...], a: jax.Array, b: jax.Array
) -> jax.Array:
    """Compute a map outside of jit."""
    found: jax.Array = primitive.bind(a, b, **dict(given))
    return found


def _shape(anywhere: Map, a: Any, b: Any, **given: Any) -> Any:
    """Return the abstract value of a map's result, which varies over the axes that `a` does."""
    arrays = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (a, b))
    found = jax.eval_shape(partial(anywhere, **given), *arrays)
    return a.update(shape=found.shape, dtype=found.dtype, weak_type=False)


def _over_examples(
    primitive: Any, anywhere: Map, arrays: Any, axes: Any, **given: Any
) -> tuple[jax.Array, int]:
    """Map over an axis of the examples alone, which become one batch."""
    if axes[1] is not None:
        return _mapped(anywhere, arrays, axes, **given)
    batches = jnp.moveaxis(arrays[0], axes[0], 0)  # (M, N, …)
    count, size, *rest = batches.shape
    found = primitive.bind(batches.reshape(count * size, *rest), arrays[1], **given)
    return found.reshape(count, size, *found.shape[1:]), 0


def _mapped(anywhere: Map, arrays: Any, axes: Any, **given: Any) -> tuple[jax.Array, int]:
    """Map over an axis of the kernel, which is left to XLA."""
    return jax.vmap(partial(anywhere, **given), axes)(*arrays), 0
