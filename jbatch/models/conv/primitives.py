"""The three maps of a convolution, as operations that each platform computes in its own way."""

from jbatch.models.bilinear import Maps, primitives
from jbatch.models.conv import on_cpu, stock

convolution, input_gradient, kernel_gradient = primitives(
    "convolution",
    Maps(stock.convolved, stock.input_gradient, stock.kernel_gradient),
    Maps(on_cpu.convolved, on_cpu.input_gradient, on_cpu.kernel_gradient),
)
