"""The three maps of a convolution, as operations that each platform computes in its own way.

T(x, kernel, g) = Σ g · conv(x, kernel) is linear in each of its three arrays. Given two of them,
its gradient by the third is one of three bilinear maps: the convolution, the input gradient and
the kernel gradient. The gradients of each are the other two. So derivatives of any order, forward
or reverse, stay among the three.

They are primitives of JAX and not functions with `jax.custom_vjp` for two reasons. A lowering rule
sees the platform that a program is compiled for, which need not be one of this machine. And under
`jax.vmap` a custom gradient by the kernel would be computed for each example and then summed; here
the examples become one batch before anything is differentiated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jbatch.models.conv import on_cpu, stock
from jbatch.models.conv.geometry import Geometry

Map = Callable[..., jax.Array]  # (array, array, geometry) → array


def _primitive(name: str, anywhere: Map, cpu: Map) -> Any:
    """Make the primitive of a map, computed by `cpu` on CPUs and by `anywhere` elsewhere."""
    made: Any = Primitive(name)
    made.def_impl(partial(_alone, made))
    made.def_abstract_eval(partial(_shape, anywhere))
    for platform, computed in ((None, anywhere), ("cpu", cpu)):
        rule = mlir.lower_fun(computed, multiple_results=False)
        mlir.register_lowering(made, rule, platform=platform)
    return made


@partial(jax.jit, static_argnums=0, static_argnames="geometry")
def _alone(primitive: Any, a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Compute a map outside of jit."""
    found: jax.Array = primitive.bind(a, b, geometry=geometry)
    return found


def _shape(anywhere: Map, a: Any, b: Any, *, geometry: Geometry) -> Any:
    """Return the abstract value of a map's result, which varies over the axes that `a` does."""
    arrays = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (a, b))
    found = jax.eval_shape(partial(anywhere, geometry=geometry), *arrays)
    return a.update(shape=found.shape, dtype=found.dtype, weak_type=False)


def _over_examples(
    primitive: Any, anywhere: Map, arrays: Any, axes: Any, *, geometry: Geometry
) -> tuple[jax.Array, int]:
    """Map over an axis of the images alone: their examples become one batch."""
    if axes[1] is not None:
        return _mapped(anywhere, arrays, axes, geometry=geometry)
    images = jnp.moveaxis(arrays[0], axes[0], 0)  # (M, N, H, W, C)
    found = primitive.bind(images.reshape(-1, *images.shape[2:]), arrays[1], geometry=geometry)
    return found.reshape(*images.shape[:2], *found.shape[1:]), 0


def _mapped(anywhere: Map, arrays: Any, axes: Any, *, geometry: Geometry) -> tuple[jax.Array, int]:
    """Map over an axis of the kernel: a convolution in groups, which is left to XLA."""
    return jax.vmap(partial(anywhere, geometry=geometry), axes)(*arrays), 0


convolution = _primitive("convolution", stock.convolved, on_cpu.convolved)
input_gradient = _primitive("input_gradient", stock.input_gradient, on_cpu.input_gradient)
kernel_gradient = _primitive("kernel_gradient", stock.kernel_gradient, on_cpu.kernel_gradient)

# The gradient by the first argument, then by the second, from that of the result.
ad.defbilinear(
    convolution,  # (x, kernel) → g
    lambda g, x, kernel, **given: input_gradient.bind(g, kernel, **given),
    lambda g, x, kernel, **given: kernel_gradient.bind(x, g, **given),
)
ad.defbilinear(
    input_gradient,  # (g, kernel) → x
    lambda x, g, kernel, **given: convolution.bind(x, kernel, **given),
    lambda x, g, kernel, **given: kernel_gradient.bind(x, g, **given),
)
ad.defbilinear(
    kernel_gradient,  # (x, g) → kernel
    lambda kernel, x, g, **given: input_gradient.bind(g, kernel, **given),
    lambda kernel, x, g, **given: convolution.bind(x, kernel, **given),
)
batching.primitive_batchers[convolution] = partial(_over_examples, convolution, stock.convolved)
batching.primitive_batchers[input_gradient] = partial(
    _over_examples, input_gradient, stock.input_gradient
)
batching.primitive_batchers[kernel_gradient] = partial(_mapped, stock.kernel_gradient)
