"""Train the GPT of `benchmarks.gpt` with nanoGPT's loop in PyTorch, eager or compiled.

After karpathy/nanoGPT: random windows from the host, tied embeddings, attention by
`scaled_dot_product_attention`, clipping and AdamW. The optimizer is fused, also on CPUs, and the
loop reads no loss, which makes it faster than nanoGPT's own.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import gpt
from benchmarks.turns import Loop


class Block(nn.Module):
    """Attention and feed-forward layers, each added to what it was given."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        """Of (B, T, width)."""
        parts = self.queries_keys_values(self.attention_norm(x)).chunk(3, dim=-1)
        parts = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]
        found = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.attended(found.transpose(1, 2).flatten(-2))
        return x + self.narrow(functional.gelu(self.wide(self.norm(x))))


class Network(nn.Module):
    """Token and position embedding, blocks, norm and tied head."""

    def __init__(self):
        super().__init__()
        layers, heads, width = gpt.NETWORK.layers, gpt.NETWORK.heads, gpt.NETWORK.width
        self.tokens = nn.Embedding(gpt.VOCABULARY, width)
        self.positions = nn.Embedding(gpt.SEQUENCE, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                added = name.endswith(("attended.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if added else 0.02)

    def forward(self, batch):
        """Return the mean cross-entropy of a batch (B, T + 1), in nats."""
        x = self.tokens(batch[:, :-1])
        x = x + self.positions(torch.arange(x.shape[1], device=batch.device))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Make AdamW that decays matrices and embeddings alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.dim() > 1], "weight_decay": gpt.DECAY},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=gpt.RATE, betas=gpt.BETAS, fused=True)


def step(run: nn.Module, model: nn.Module, optimizer: torch.optim.Optimizer, batch) -> torch.Tensor:
    """Take an update of a batch, and return its loss; `run` is the model, or compiled from it."""
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.is_cuda):
        loss = run(batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), gpt.CLIP)
    optimizer.step()
    return loss


def loop(size: int, *, compiled: bool, threads: int) -> Loop:
    """Make a loop that takes n updates of `size` windows, and waits for them."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, tokens = Network().to(device), gpt.text()
    run = torch.compile(model) if compiled else model
    optimizer, draw = optimizer_of(model), np.random.default_rng(0)

    def updates(count: int) -> None:
        for _ in range(count):
            starts = draw.integers(0, len(tokens) - gpt.SEQUENCE, size)
            batch = torch.from_numpy(gpt.windows(tokens, starts).astype(np.int64))
            if device.type == "cuda":
                batch = batch.pin_memory().to(device, non_blocking=True)
            step(run, model, optimizer, batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return updates
