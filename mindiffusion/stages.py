"""Stage: a stretch of training and the values that hold in it."""

from typing import Any

from mindiffusion.limits import beyond_limits
from mindiffusion.runtime.errors import UserError

FIXED = ("name", "epochs")
LARGEST = 1e9  # of a value, without its sign


class Stage:
    """``Stage("stage1_high_noise", 5, t_min=0.8, sparsity=0.8)``: 5 epochs; the values are ``stage.t_min`` and so on.

    Values are finite numbers, of any names; what they mean is said by the script's ``start_stage`` alone. A stage is
    never changed; two with equal contents are equal. UserError for anything else than numbers, or for no epoch.
    """

    name: str
    epochs: int

    def __init__(self, name: str, epochs: int, **values: float):
        wrong = beyond_limits("epochs", epochs)
        if wrong or not isinstance(name, str):
            raise UserError(f"the number of epochs of {name} is {wrong or epochs}.")
        for key, value in values.items():
            if hasattr(Stage, key):
                raise UserError(f"a stage cannot have a value named {key}: choose another name.")
            good = isinstance(value, int | float) and not isinstance(value, bool)
            if not (good and abs(value) <= LARGEST):
                raise UserError(f"{key} of {name} is {value!r}; the values of a stage are numbers of at most 10**9.")
        self.__dict__.update(name=name, epochs=epochs, **values)

    @property
    def values(self) -> dict[str, float]:
        """{name: value} of what holds in this stage."""
        return {key: value for key, value in self.__dict__.items() if key not in FIXED}

    def to_dict(self) -> dict[str, Any]:
        """Plain types: ``Stage(**stage.to_dict())`` is equal to ``stage``."""
        return dict(self.__dict__)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a stage is never changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.__dict__.items())))


def describe_values(values: dict[str, float]) -> str:
    """A stage's values for people: "t_min 0.8, lam 2.5e-05"."""
    return ", ".join(f"{key} {value:.4g}" for key, value in values.items())


def value_names(stages: list[dict[str, Any]]) -> list[str]:
    """The names of all values of stages, which are plain as in config.json, in the order of their first use."""
    return list(dict.fromkeys(key for stage in stages for key in stage if key not in FIXED))


def changing_values(stages: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each of these plain stages the values that are not the same in all of them: what makes it another stage."""
    names = [name for name in value_names(stages) if len({stage.get(name) for stage in stages}) > 1]
    return [{name: stage[name] for name in names if name in stage} for stage in stages]
