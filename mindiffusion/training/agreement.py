"""Whether all ranks hold the same weights: asked at each epoch's end."""

from collections import Counter

import torch
from torch import Tensor, nn

from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError


def check_ranks_agree(ranks: Ranks, net: nn.Module, where: str) -> None:
    """UserError, on every rank, naming the ranks whose weights are not those of the others, bit for bit. With two ranks
    rank 0 counts as right. ``where`` says when, for the message."""
    if ranks.world_size == 1:
        return
    sums = [tuple(each) for each in ranks.all_gather(checksum(net).tolist())]
    common, count = Counter(sums).most_common(1)[0]
    right = common if count > 1 else sums[0]
    wrong = [str(rank) for rank, each in enumerate(sums) if each != right]
    if wrong:
        raise UserError(
            f"{where}, the weights of rank {', '.join(wrong)} are not those of the other ranks: a GPU or a link "
            "computes wrongly, or the ranks run different versions. This epoch's end is not saved. Look into that "
            "machine, then go on with --resume, which takes the last checkpoint."
        )


def checksum(net: nn.Module) -> Tensor:
    """A number for the weights and one for the buffers of ``net``, int64 (2,) on its device: sums of their bits, each
    position with a weight of its own, modulo 2^64."""
    sums = []
    for group in (net.parameters(), net.buffers()):
        total = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
        for index, value in enumerate(group):
            bits = value.detach().reshape(-1).view(torch.uint8).to(torch.int64)
            places = torch.arange(len(bits), device=bits.device) + 1
            total += (bits * places).sum() * (index + 1)
        sums.append(total)
    return torch.stack(sums)
