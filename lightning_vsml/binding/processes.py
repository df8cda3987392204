"""Several processes that train one model: changes are averaged as DistributedDataParallel averages gradients."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Mean = Callable[[Tensor], Tensor]


def wrapper_of(model: nn.Module) -> DistributedDataParallel | None:
    """The wrapper in or around ``model``, if it is trained by several processes."""
    return next((module for module in model.modules() if isinstance(module, DistributedDataParallel)), None)


def mean_by(wrapper: DistributedDataParallel) -> Mean:
    """The mean over a wrapper's processes, in place; all of them have to call it equally often."""

    @torch.no_grad()
    def mean(tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor, group=wrapper.process_group)
        return tensor.div_(dist.get_world_size(wrapper.process_group))

    return mean
