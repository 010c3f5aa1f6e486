"""Networks."""

from jbatch.models.specs import MLP, GhostBatchNorm, Model, NoNorm, Norm, SmallResNet, ghost_batch

__all__ = ["MLP", "GhostBatchNorm", "Model", "NoNorm", "Norm", "SmallResNet", "ghost_batch"]
