"""Describe GPUs to XLA's compiler, which then needs none."""

from typing import NamedTuple

CUDNN = (9, 10)  # the version that the compiler writes programs for
RUNTIME = (12, 8)  # of CUDA


class Gpu(NamedTuple):
    """Hold what the compiler asks about a GPU, as it says of itself (`cudaDeviceProp`)."""

    name: str
    major: int  # compute capability
    cores: int  # streaming multiprocessors
    units: int  # float32 units of each
    clock: float  # GHz
    memory: int  # bytes
    bandwidth: float  # bytes/s
    cache: int  # bytes of L2
    shared: int  # bytes of shared memory of each core
    block: int  # bytes of it that one block may ask for


GPUS = {
    "a100": Gpu(
        *("NVIDIA A100-SXM4-80GB", 8, 108, 64, 1.41),
        *(85_100_068_864, 2_039_040_000_000, 40 * 2**20, 164 * 2**10, 163 * 2**10),
    ),
    "h100": Gpu(
        *("NVIDIA H100 80GB HBM3", 9, 132, 128, 1.98),
        *(84_942_979_072, 3_352_320_000_000, 50 * 2**20, 228 * 2**10, 227 * 2**10),
    ),
    "h200": Gpu(
        *("NVIDIA H200", 9, 132, 128, 1.98),
        *(151_397_597_184, 4_800_000_000_000, 50 * 2**20, 228 * 2**10, 227 * 2**10),
    ),
    "b200": Gpu(
        *("NVIDIA B200", 10, 148, 128, 1.965),
        *(191_514_411_008, 7_672_320_000_000, 132_644_864, 228 * 2**10, 227 * 2**10),
    ),
}


def description(gpu: Gpu) -> str:
    """Return the text of XLA's GpuTargetConfigProto."""
    accelerated = " feature_extension: ACCELERATED_FEATURES" if gpu.major >= 9 else ""
    (dnn, dnn_minor), (runtime, runtime_minor) = CUDNN, RUNTIME
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block_optin: {gpu.block}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {gpu.bandwidth}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  device_memory_size: {gpu.memory}
  cuda_compute_capability {{ major: {gpu.major}{accelerated} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: {dnn} minor: {dnn_minor} }}
runtime_version {{ major: {runtime} minor: {runtime_minor} }}
device_description_str: "{gpu.name}"
"""
