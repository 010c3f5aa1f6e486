"""Train the same networks with a plain PyTorch loop, following PyTorch's tuning guide.

It uses float tensors on the device, channels last and a fused optimizer, and reads no value back in
the loop. `compiled` uses `torch.compile`. GPUs compute in bfloat16 by autocast.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peer_flax import standardized
from benchmarks.turns import Loop


class Block(nn.Module):
    """Compute one block of a wide residual network, norm first."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(fan_in), nn.BatchNorm2d(fan_out)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        changes = (stride, fan_in) != (1, fan_out)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False) if changes else None

    def forward(self, x):
        """Of (B, C, H, W)."""
        y = functional.relu(self.norm1(x), inplace=True)
        x = x if self.shortcut is None else self.shortcut(y)
        return x + self.conv2(functional.relu(self.norm2(self.conv1(y)), inplace=True))


def network(name: str) -> nn.Module:
    """Build a network of `benchmarks.workloads`."""
    match name:
        case "mlp":
            return nn.Sequential(
                nn.Flatten(),
                *(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()),
                nn.Linear(512, 10),
            )
        case "cnn":
            layers = []
            for fan_in, fan_out in ((1, 16), (16, 32), (32, 64)):
                conv = nn.Conv2d(fan_in, fan_out, 3, 2, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, 10))
        case "wrn-16-4":
            shapes = ((16, 64, 1), (64, 64, 1), (64, 128, 2))
            shapes += ((128, 128, 1), (128, 256, 2), (256, 256, 1))
            return nn.Sequential(
                nn.Conv2d(3, 16, 3, 1, 1, bias=False),
                *(Block(*shape) for shape in shapes),
                *(nn.BatchNorm2d(256), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)),
                *(nn.Flatten(), nn.Linear(256, 10)),
            )
        case "resnet-50":
            from torchvision.models import resnet50

            return resnet50()


def loop(
    name: str, images: np.ndarray, labels: np.ndarray, size: int, *, compiled: bool, threads: int
) -> Loop:
    """Make a loop that takes n updates of `size` and waits for them."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    inputs = torch.from_numpy(standardized(images)).permute(0, 3, 1, 2)
    inputs = inputs.to(device, memory_format=torch.channels_last)
    targets = torch.from_numpy(labels).to(device)
    model = network(name).to(device, memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True
    )
    run = torch.compile(model) if compiled else model
    batches = shuffled(inputs, targets, size)

    def updates(count: int) -> None:
        for _ in range(count):
            x, y = next(batches)
            with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
                loss = functional.cross_entropy(run(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()

    return updates


def shuffled(inputs: torch.Tensor, targets: torch.Tensor, size: int) -> Iterator[tuple]:
    """Yield batches of the epochs' permutations."""
    while True:
        order = torch.randperm(len(targets), device=inputs.device)
        for start in range(0, len(targets) - size + 1, size):
            chosen = order[start : start + size]
            yield inputs[chosen], targets[chosen]
