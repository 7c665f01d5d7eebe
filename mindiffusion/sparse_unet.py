"""SparseNaiveUnet (CS): a hard channel mask at the bottleneck, with regrowth by gradient.

Stage by stage the mask opens channels that have been idle so far. "Clean until born": the parameters that a masked
channel owns keep their initial values, bit for bit, until the channel is born. Gradient hooks on the parameters see to
that, so a training loop cannot forget it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import make_generator
from mindiffusion.unet import NaiveUnet

MASK_SCOPES = ("bottleneck", "level")
REGROWTH_METHODS = ("gradient", "random")
NOT_BORN = -1


def check_falling(sparsities: list[float]) -> None:
    """UserError unless the sparsities of the stages fall: channels are only ever opened."""
    for sparsity in sparsities:
        num_active_channels(1, sparsity)
    if sparsities != sorted(sparsities, reverse=True):
        raise UserError(f"the stages' sparsity is {sparsities}; channels are only ever opened, so it must fall.")


def num_active_channels(num_channels: int, sparsity: float) -> int:
    """Channels left at ``sparsity`` in [0, 1]: floor(num_channels * (1 - sparsity)), safe from rounding.

    256 channels at 80/60/40/20/0 % give 51/102/153/204/256.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise UserError(f"sparsity is {sparsity}; it must lie between 0 (dense) and 1 (all channels masked).")
    return int(num_channels * (1.0 - sparsity) + 1e-6)


class SparseNaiveUnet(NaiveUnet):
    """NaiveUnet whose 2n bottleneck channels can be masked. With a full mask it is NaiveUnet exactly.

    Buffers, both (2n,) and part of the state dict:
        ``channel_mask`` float, 1 = active, 0 = masked;
        ``channel_birth_stage`` int64, 0 = active from the start, S = born in stage S, -1 = not born.

    ``mask_scope`` says what a masked channel c is cut off from:
        "bottleneck": channel c of the pooled vector. The d3 skip and the time embedding pass unmasked.
        "level": also channel c of the d3 skip (into up1) and of the time embedding (both places it is added).

    A masked channel owns these slices, which stay at their initial values (zero gradient, hence zero Adam moments):
        up0: input row c of the transposed convolution. In scope "bottleneck" the time embedding would train it.
        down3: filter and bias c of the last convolution, scale and shift c of the last GroupNorm. The skip would train
            them; in scope "level" the group's shared mean and variance still would.
        scope "level" only: input row 2n + c of up1's transposed convolution, row and bias c of timeembed.lin2.
    What it shares with others (biases of up0, the rest of GroupNorm, all earlier layers) is not its own and trains.

    The mask comes after the last GroupNorm of down3. What a masked channel computes before it still enters the mean and
    the variance of its group there, in both scopes: the active channels of that group are not quite independent of it.
    """

    channel_mask: Tensor
    channel_birth_stage: Tensor
    gradient_sum: Tensor
    gradient_steps: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_feat: int = 256,
        initial_sparsity: float = 0.0,
        mask_scope: str = "bottleneck",
        mask_seed: int = 0,
    ):
        super().__init__(in_channels, out_channels, n_feat)
        if mask_scope not in MASK_SCOPES:
            raise UserError(f"mask_scope is {mask_scope!r}; choose one of {', '.join(MASK_SCOPES)}.")
        self.mask_scope = mask_scope
        self.args |= {"mask_scope": mask_scope}  # what is open, the buffers know

        num_channels = 2 * n_feat
        num_active = num_active_channels(num_channels, initial_sparsity)
        order = torch.randperm(num_channels, generator=make_generator(mask_seed, "initial mask"))
        mask = torch.zeros(num_channels)
        mask[order[:num_active]] = 1.0
        self.register_buffer("channel_mask", mask)
        self.register_buffer("channel_birth_stage", torch.where(mask == 1, 0, NOT_BORN))

        # Regrowth sums: training state, not weights.
        self.register_buffer("gradient_sum", torch.zeros(num_channels), persistent=False)
        self.register_buffer("gradient_steps", torch.zeros(()), persistent=False)
        # A constant zero added to the mask: its gradient is dL/dmask, for masked channels too. A plain tensor, not a
        # Parameter, so that no optimizer, EMA or state dict ever meets it.
        self.mask_probe = torch.zeros(num_channels, requires_grad=True)
        self._frozen: dict[str, Tensor] = {}  # the parameters that have their hook, by name
        self._freeze_masked_channels()
        self.register_load_state_dict_post_hook(_freeze_again)  # load_state_dict(assign=True) brings new parameters

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SparseNaiveUnet":
        super()._apply(fn, recurse)  # .to(), .cuda() and the like move parameters and buffers; the probe goes along
        self.mask_probe = fn(self.mask_probe.detach()).requires_grad_()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As nn.Module's; the probe of the mask forgets its gradient too."""
        super().zero_grad(set_to_none)
        self.mask_probe.grad = None

    # --- forward ------------------------------------------------------------------------------------------------

    def bottleneck(self, thro: Tensor, skip: Tensor, temb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the mask. Shapes as in NaiveUnet.bottleneck."""
        mask = (self.channel_mask + self.mask_probe)[:, None, None]  # (2n, 1, 1)
        if self.mask_scope == "level":
            return thro * mask, skip * mask, temb * mask
        return thro * mask, skip, temb

    # --- what the rest of the program asks ------------------------------------------------------------------------

    def readings(self) -> dict[str, float]:
        """``active_channels``: how many bottleneck channels are open."""
        return {"active_channels": self.num_active}

    def training_state(self) -> dict[str, Tensor]:
        """The regrowth sums."""
        return {"gradient_sum": self.gradient_sum.clone(), "gradient_steps": self.gradient_steps.clone()}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Go on from regrowth sums."""
        for name, value in state.items():
            self.get_buffer(name).copy_(value)

    def describe(self) -> str:
        """Which channels are open, and since when."""
        births = self.channel_birth_stage.tolist()
        counts = [f", {births.count(stage)} born in stage {stage}" for stage in sorted(set(births)) if stage > 0]
        return (
            f"{self.num_active} of {len(births)} bottleneck channels are active: {births.count(0)} from the start"
            + "".join(counts)
            + ". The mask and the births are `channel_mask` and `channel_birth_stage` in model.safetensors."
        )

    # --- regrowth -----------------------------------------------------------------------------------------------

    @property
    def num_active(self) -> int:
        """How many channels are active now."""
        return int(self.channel_mask.sum())

    @torch.no_grad()
    def accumulate_channel_gradients(self, average_: Callable[[Tensor], Tensor] | None = None) -> None:
        """Add the |dL/dmask| of the step just back-propagated to the regrowth sums. Call it once a step, after the last
        backward pass; ``average_`` averages a tensor over ranks in place, so that all score the global batch."""
        if self.mask_probe.grad is None:
            return
        if average_ is not None:
            average_(self.mask_probe.grad)
        self.gradient_sum += self.mask_probe.grad.abs()
        self.gradient_steps += 1
        self.mask_probe.grad = None

    def get_channel_gradients(self) -> Tensor:
        """Score of each channel (2n,): |dL/dmask_c| averaged over the steps since the last regrowth.

        It estimates, to first order, how much the loss of one step would change if channel c were opened (for a
        masked channel) or closed (for an active one). Zeros if nothing has been back-propagated yet.
        """
        self.accumulate_channel_gradients()
        return self.gradient_sum / self.gradient_steps.clamp(min=1)

    @torch.no_grad()
    def regrow_channels(self, num_to_grow: int, current_stage: int, method: str = "gradient", seed: int = 0) -> int:
        """Open ``num_to_grow`` masked channels, or as many as there are, and record ``current_stage`` as their birth.

        "gradient" opens those with the largest score, ties to the lowest index; "random" draws them from ``seed`` and
        the stage. Active channels are never touched. When channels were opened, the regrowth sums start anew. Returns
        the number opened.
        """
        if method not in REGROWTH_METHODS:
            raise UserError(f"regrowth method is {method!r}; choose one of {', '.join(REGROWTH_METHODS)}.")
        masked = (self.channel_mask == 0).nonzero().flatten()  # ascending
        num_to_grow = min(num_to_grow, len(masked))
        if num_to_grow <= 0:
            return 0
        if method == "gradient":
            order = self.get_channel_gradients()[masked].argsort(descending=True, stable=True)
        else:
            generator = make_generator(seed, "regrowth", current_stage)
            order = torch.randperm(len(masked), generator=generator).to(masked.device)
        born = masked[order[:num_to_grow]]
        self.channel_mask[born] = 1.0
        self.channel_birth_stage[born] = current_stage
        self.gradient_sum.zero_()
        self.gradient_steps.zero_()
        self.mask_probe.grad = None
        return num_to_grow

    def regrow_to(self, sparsity: float, current_stage: int, method: str = "gradient", seed: int = 0) -> int:
        """Open channels until ``sparsity`` is reached; returns how many. Does nothing when it is reached already, so a
        resumed run may call it again. ``seed`` is that of the random method."""
        num_to_grow = num_active_channels(len(self.channel_mask), sparsity) - self.num_active
        return self.regrow_channels(num_to_grow, current_stage, method, seed)

    # --- clean until born ---------------------------------------------------------------------------------------

    def masked_channel_slices(self) -> list[tuple[str, int, int]]:
        """What a masked channel c owns: (parameter name, axis, offset), meaning index offset + c along that axis."""
        last_conv, last_norm = "down3.model.0.conv.3", "down3.model.0.conv.4"
        slices = [
            ("up0.0.weight", 0, 0),
            (f"{last_conv}.weight", 0, 0),
            (f"{last_conv}.bias", 0, 0),
            (f"{last_norm}.weight", 0, 0),
            (f"{last_norm}.bias", 0, 0),
        ]
        if self.mask_scope == "level":
            slices += [
                ("up1.model.0.weight", 0, 2 * self.n_feat),
                ("timeembed.lin2.weight", 0, 0),
                ("timeembed.lin2.bias", 0, 0),
            ]
        return slices

    def _freeze_masked_channels(self) -> None:
        for name, axis, offset in self.masked_channel_slices():
            parameter = self.get_parameter(name)
            if self._frozen.get(name) is parameter:
                continue
            keep_shape = [1] * parameter.dim()
            keep_shape[axis] = -1
            wanted = parameter.requires_grad  # those of a moving average want none, and no hook while they do not
            parameter.requires_grad_().register_hook(self._freezing_hook(axis, offset, keep_shape))
            self._frozen[name] = parameter.requires_grad_(wanted)

    def _freezing_hook(self, axis: int, offset: int, keep_shape: list[int]) -> Callable[[Tensor], Tensor]:
        def zero_masked(grad: Tensor) -> Tensor:
            mask = self.channel_mask.view(keep_shape)
            if offset == 0:
                return grad * mask
            shared, owned = grad.tensor_split([offset], dim=axis)
            return torch.cat((shared, owned * mask), dim=axis)

        return zero_masked

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copies (copy.deepcopy, pickle) come without their parameters' hooks: the promise holds for them too.
        super().__setstate__(state)
        self._frozen = {}
        self._freeze_masked_channels()


def _freeze_again(net: SparseNaiveUnet, _: Any) -> None:
    net._freeze_masked_channels()
