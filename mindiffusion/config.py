"""One dataclass holds everything a run is told: the constants of its script and the flags of its command line."""

import argparse
import json
import os
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from mindiffusion.data.decode import CROPS
from mindiffusion.data.images import parse_range
from mindiffusion.data.synthetic import SYNTHETIC_DEMO
from mindiffusion.limits import beyond_limits
from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.env_file import read_env_file
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.gpu import DEVICES
from mindiffusion.runtime.packages import require
from mindiffusion.sampling import SAMPLERS, Sampler
from mindiffusion.stages import Stage
from mindiffusion.unet import NORM_GROUPS, SIZE_MULTIPLE

RESUME_NEWEST = "newest"
OF_EVALUATION = ("data_path", "crop", "skip_bad_images")  # flags that evaluate.py needs as a run had them
PLACES = ("data_path", "output_dir", "resume", "init_from")  # stay in a run's own config.json, and nowhere else

# --demo: the synthetic two-feature data and a schedule that 2 CPU cores finish in about 4 minutes. Flags still win.
DEMO = {
    "data_path": SYNTHETIC_DEMO,
    "n_feat": 16,
    "global_batch_size": 8,  # small: the demo is short of optimizer steps
    "lr": 2e-3,
    "lr_schedule": "linear",
    "ema_decay": 0.995,
    "num_samples": 32,
    "sample_steps": 25,
}
DEMO_EPOCHS = 13  # the first stage shows coarse features alone, the last ones both
COMPILE_MODES = ("default", "reduce-overhead")  # torch.compile's own; the second records CUDA graphs
SCIENCE = {"science": True}  # a field that decides which numbers a run computes: no checkpoint of another is continued


def flag(default: Any, text: str, **argparse_options: Any) -> Any:
    """A field that is also a flag, with its help text and what argparse must know beyond the default's type."""
    return field(default=default, metadata={"help": text, "options": argparse_options})


def science(default: Any, text: str, **argparse_options: Any) -> Any:
    """A flag that is science."""
    return field(default=default, metadata={"help": text, "options": argparse_options, **SCIENCE})


@dataclass(frozen=True)
class TrainConfig:
    """A resolved run. Fields made by ``flag`` are flags of every training script; the others are script constants."""

    # The experiment: constants of the script.
    variant: str = field(metadata=SCIENCE)
    stages: tuple[Stage, ...] = field(metadata=SCIENCE)
    constants: dict[str, Any] = field(default_factory=dict, metadata=SCIENCE)  # what else decides the numbers
    betas: tuple[float, float] = field(default=(1e-4, 0.02), metadata=SCIENCE)
    n_T: int = field(default=1000, metadata=SCIENCE)
    title: str = ""  # for people: the script's own words

    # The experiment: flags.
    seed: int = science(0, "seed of everything random")
    image_size: int = science(32, f"pixels per side, a multiple of {SIZE_MULTIPLE}")
    n_feat: int = science(32, f"width of the network, a multiple of {NORM_GROUPS}")
    global_batch_size: int = science(256, "images per optimizer step, over all processes")
    images_per_epoch: int = science(0, "images of an epoch, each epoch's drawn anew from all; 0 = all of them")
    lr: float = science(2e-5, "learning rate of Adam")
    lr_schedule: str = science(
        "constant", "linear lets the learning rate fall to 0 over the run", choices=("constant", "linear")
    )
    ema_decay: float = science(0.999, "decay of the weights' moving average, used for sampling; 0 = off")
    precision: str = science(
        "auto",
        "bf16 autocast or fp32; auto is bf16 where the GPU, or in a long run the CPU, has it",
        choices=("auto", "fp32", "bf16"),
    )
    train_images: str = science(
        "", "train on these of the sorted images only, and hold the rest out, e.g. 1-8000 (default: all)", metavar="A-B"
    )
    crop: str = science("square", "part of the image that is used; 'none' squashes all of it", choices=tuple(CROPS))

    # Place and machine.
    data_path: str = flag(
        "", "image folder, searched recursively, or synthetic, or synthetic-tiles; default: CELEBA_PATH"
    )
    skip_bad_images: bool = flag(False, "leave out unreadable images and list them", action="store_true")
    output_dir: str = flag(".", "folder that gets contents_*/ and checkpoints_*/")
    device: str = flag("auto", "where to train", choices=DEVICES)
    micro_batch_size: int = flag(0, "images per forward pass and process, to save memory; 0 = all at once")
    compile: str | None = flag(  # None: see resolve_auto; "": off
        None,
        "torch.compile the step, in this mode; default: on CUDA, and on a CPU in runs of more than about 15 minutes",
        nargs="?",
        const=COMPILE_MODES[0],
        choices=COMPILE_MODES,
    )
    num_samples: int = flag(32, "images per sample grid; 0 = no grids")
    grid_every: int = flag(0, "epochs between grids; 0 = 1, on a GPU more where they are dear")
    sampler: str = flag("dpm", "of sample grids; ddpm takes every step", choices=SAMPLERS)
    sample_steps: int = flag(25, "network evaluations per sample of a grid")
    sample_eta: float = flag(1.0, "noise of the grids' sampler, from 0 (none) to 1 (as much as DDPM)")
    figures: bool = flag(True, "draw figures at stage ends", action=argparse.BooleanOptionalAction)
    tensorboard: bool = flag(False, "log scalars and grids for TensorBoard too", action="store_true")
    checkpoint_minutes: float = flag(10.0, "save latest.pt this often, and at ends of epochs")
    resume: str = flag(
        "",
        "continue this run: from the newest good checkpoint, or from PATH",
        nargs="?",
        const=RESUME_NEWEST,
        metavar="PATH",
    )
    overwrite: bool = flag(False, "delete an earlier run's outputs and start anew", action="store_true")
    init_from: str = flag(
        "", "start from these weights: a checkpoint, or a bare state dict of minDiffusion", metavar="PATH"
    )
    demo: bool = flag(False, "the synthetic data and a schedule of about 4 minutes on 2 CPU cores", action="store_true")
    dry_run: bool = flag(
        False, "print the plan (stages, images, steps, channels, memory) and exit", action="store_true"
    )

    # --- names ----------------------------------------------------------------------------------------------------

    @property
    def run_name(self) -> str:
        """ "32" for the uniform control, "c_32", "cs_32", "cr_32" for the variants."""
        return "_".join(part for part in (self.variant, str(self.image_size)) if part)

    @property
    def contents_dir(self) -> Path:
        """Where grids, metrics.csv and config.json go."""
        return Path(self.output_dir) / f"contents_{self.run_name}"

    @property
    def checkpoints_dir(self) -> Path:
        """Where checkpoints go."""
        return Path(self.output_dir) / f"checkpoints_{self.run_name}"

    @property
    def train_places(self) -> tuple[int, int] | None:
        """First and last of the sorted images to train on, from 1; None for all."""
        try:
            return parse_range(self.train_images) if self.train_images else None
        except ValueError:
            raise UserError(
                f"--train-images is {self.train_images}; write it like 1-8000: first and last file, from 1."
            ) from None

    @property
    def grid_sampler(self) -> Sampler:
        """How sample grids are drawn."""
        return Sampler(self.sampler, self.sample_steps, self.sample_eta)

    @property
    def total_epochs(self) -> int:
        """Epochs over all stages."""
        return sum(stage.epochs for stage in self.stages)

    # --- checks ---------------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        for item in fields(self):
            if wrong := beyond_limits(item.name, getattr(self, item.name)):
                name = _flag_name(item.name) if "help" in item.metadata else item.name.upper()
                raise UserError(f"{name} is {wrong}.")
        if self.sample_steps > self.n_T:
            raise UserError(f"--sample-steps is {self.sample_steps}; it must lie in 1..{self.n_T}.")
        if self.compile == "reduce-overhead" and self.micro_batch_size:
            raise UserError("--compile reduce-overhead cannot sum gradients: leave --micro-batch-size out.")
        _ = self.train_places
        if self.tensorboard:
            require("tensorboard", "--tensorboard")
        if self.resume and self.overwrite:
            raise UserError("--resume keeps an earlier run and --overwrite deletes it: give one of them.")
        if self.resume not in ("", RESUME_NEWEST) and self.init_from:
            raise UserError("--resume PATH continues a run and --init-from starts one: give one of them.")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UserError(f"two stages have one name: {', '.join(names)}. Give each its own.")

    def identity(self) -> dict[str, Any]:
        """The fields that decide which numbers a run computes. A checkpoint continues only under equal ones."""
        return {name: value for name, value in self.to_dict().items() if name in identity_fields()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The fields that have a default, as ``to_dict`` shows them: what a checkpoint meant that was written before a
        field existed."""
        return _plain({item.name: item.default for item in fields(cls) if item.default is not MISSING})

    def to_dict(self) -> dict[str, Any]:
        """Plain types only: dicts, lists, strings, numbers."""
        return _plain({item.name: getattr(self, item.name) for item in fields(self)})


def identity_fields() -> tuple[str, ...]:
    """The names of the fields that ``TrainConfig.identity`` takes."""
    return tuple(item.name for item in fields(TrainConfig) if item.metadata.get("science"))


def parse_config(doc: str, argv: list[str] | None = None, **constants: Any) -> TrainConfig:
    """The config of a script: its constants, then --demo, then .env and flags, the later winning.

    ``doc`` is the script's docstring, shown by --help. Exits with code 2 and a message on a bad flag.
    """
    read_env_file()
    given = vars(_build_parser(doc, constants["stages"]).parse_args(argv))
    for name in ("resume", "init_from"):
        if given.get(name) == "":
            raise UserError(f"{_flag_name(name)} has an empty path: name a file, or leave the flag out.")
    if given.get("sampler") == "ddpm" and given.keys() & {"sample_steps", "sample_eta"}:
        raise UserError(
            "DDPM takes every step, with its own noise: drop --sample-steps and --sample-eta, or choose another."
        )
    epochs = given.pop("epochs_per_stage", None)
    if given.get("demo"):
        constants = {**constants, **DEMO}
        epochs = epochs or _demo_epochs(len(constants["stages"]))
    values = {**constants, **given}
    values.setdefault("data_path", os.environ.get("CELEBA_PATH", ""))
    if epochs is not None:
        values["stages"] = _with_epochs(values["stages"], epochs)
    return TrainConfig(**{**values, "stages": tuple(values["stages"]), "title": _title(doc)})


def _with_epochs(stages: list[Stage], epochs: list[int]) -> list[Stage]:
    """The stages with these numbers of epochs. A control trains as long as the stages that it is compared with."""
    if min(epochs) < 1:
        raise UserError(f"--epochs-per-stage has {min(epochs)}; every stage needs at least 1.")
    if len(stages) == 1:
        epochs = [sum(epochs)]
    if len(epochs) != len(stages):
        raise UserError(f"--epochs-per-stage has {len(epochs)} numbers, but this script has {len(stages)} stage(s).")
    return [Stage(**{**stage.to_dict(), "epochs": number}) for stage, number in zip(stages, epochs, strict=True)]


def _demo_epochs(num_stages: int) -> list[int]:
    """About DEMO_EPOCHS in all: a control's in one stage, else the first short and the others alike."""
    if num_stages == 1:
        return [DEMO_EPOCHS]
    share = max(1, round((DEMO_EPOCHS - 1) / (num_stages - 1)))
    return [1, *[share] * (num_stages - 1)]


def _title(doc: str) -> str:
    """The first sentence of a script's second paragraph, which says what the variant is."""
    paragraphs = doc.strip().split("\n\n")
    return " ".join(paragraphs[1].split()).partition(". ")[0].rstrip(".") if len(paragraphs) > 1 else ""


SWITCH = {"True": "on", "False": "off"}


def flags_of_evaluation(config: dict[str, Any]) -> list[str]:
    """What evaluate.py is told beside the models of a run of this configuration. It knows by itself which images the
    run has held out."""
    flags, defaults = [], TrainConfig.defaults()
    for name in OF_EVALUATION:
        if (value := config.get(name, defaults[name])) != defaults[name]:
            flags += [_flag_name(name)] if value is True else [_flag_name(name), value]
    return flags


def _build_parser(doc: str, stages: list[Stage]) -> argparse.ArgumentParser:
    parser = CommandLine(doc)
    parser.add_argument(
        "--epochs-per-stage",
        type=int,
        nargs="+",
        metavar="N",
        default=argparse.SUPPRESS,
        help=f"one number per stage (default: {' '.join(str(stage.epochs) for stage in stages)})",
    )
    for item in fields(TrainConfig):
        if "help" not in item.metadata:
            continue
        text = item.metadata["help"]
        if item.default not in ("", None):
            text += f" (default: {SWITCH.get(str(item.default), item.default)})"
        options = {"type": item.type} if item.type in (int, float) else {}
        options |= {"default": argparse.SUPPRESS, "help": text, **item.metadata["options"]}
        parser.add_argument(_flag_name(item.name), **options)
    off = {"dest": "compile", "action": "store_const", "const": "", "default": argparse.SUPPRESS}
    parser.add_argument("--no-compile", help="run PyTorch step by step, uncompiled", **off)
    return parser


def _flag_name(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def _plain(value: Any) -> Any:
    """Tuples as lists, and stages as dicts: what JSON makes of them."""
    return json.loads(json.dumps(value, default=Stage.to_dict))
