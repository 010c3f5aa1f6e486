"""What follows the batch: an optimizer's values that keep their meaning in examples.

docs/following.md says which rule is whose; tests/plan/test_following.py derives them.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from jbatch.errors import Mistake, meant, not_negative, positive, real, share, shown

Preset = Literal["smith", "seesaw", "malladi", "half_life"]
Decay = Literal["half_life", "malladi"]

RULES: dict[str, tuple[str, ...]] = {
    "momentum": get_args(Decay),
    "b2": get_args(Decay),
    "eps": ("malladi",),
    "weight_decay": ("time_scale",),
}


class Values(NamedTuple):
    """An optimizer's values beside the rate, at one batch size; None where it is not known."""

    momentum: float | None = None  # m, or β1
    b2: float | None = None
    eps: float | None = None  # of Adam's denominator
    weight_decay: float | None = None


@dataclass(frozen=True)
class Hold:
    """Which of an optimizer's values follow the batch, each by which rule; None stays as it is.

    With κ = B / (the batch that the optimizer's values are for):

    - "half_life" is β^κ, whose half-life is the same number of examples (Marek et al., arXiv
      2507.07101, for β2).
    - "malladi" is 1 − (1−β)·κ, and ε/√κ (Malladi et al., arXiv 2205.10287, for Adam at p = 1/2).
    - "time_scale" is λ·κ^(1−p), which keeps the time scale B/(ελN) of decoupled weight decay (Wang
      and Aitchison, arXiv 2405.13698).

    Examples:
        >>> plan = jbatch.couple(
        ...     lambda epoch: 0.001, num_examples=1000, num_epochs=2, ramp={0: 10, 1: 40},
        ...     momentum=0.9, b2=0.999, hold=jbatch.Hold(b2="half_life"),
        ... )
        >>> [round(plan.at(update).b2, 6) for update in (0, 100)]
        [0.999, 0.996006]
    """

    momentum: Decay | None = None
    """Of β1."""
    b2: Decay | None = None
    """Of β2."""
    eps: Literal["malladi"] | None = None
    """Of the ε in Adam's denominator."""
    weight_decay: Literal["time_scale"] | None = None
    """Of the weight decay λ."""

    def __post_init__(self) -> None:
        for name, allowed in RULES.items():
            if (rule := getattr(self, name)) not in (None, *allowed):
                raise Mistake(f"hold.{name} is {shown(rule)}: give {' or '.join(allowed)}, or None")

    @property
    def names(self) -> tuple[str, ...]:
        """The values that follow the batch."""
        return tuple(name for name in RULES if getattr(self, name) is not None)


# Each with its scaling p; None leaves p to the person.
PRESETS: dict[str, tuple[float | None, Hold]] = {
    "smith": (1.0, Hold()),  # at p = 1 the weight decay's time scale stays by itself
    "seesaw": (0.5, Hold(weight_decay="time_scale")),
    "malladi": (0.5, Hold("malladi", "malladi", "malladi", "time_scale")),
    "half_life": (None, Hold(b2="half_life", weight_decay="time_scale")),
}


def read_hold(hold: Hold | str | None, scaling: float | None, values: Values) -> tuple[Hold, float]:
    """Return the rules of a `hold` as a person gives it, and the scaling p, by default 1.

    A preset makes the weight decay follow only if there is one.

    Raises:
        Mistake: if the preset is not known, is for another scaling, or a value is missing.
    """
    scaling = None if scaling is None else real("scaling", scaling)
    if isinstance(hold, str):
        if hold not in PRESETS:
            raise Mistake(
                f"hold is {shown(hold)}: give one of {', '.join(PRESETS)}, or a Hold"
                f"{meant(hold, PRESETS)}"
            )
        power, rules = PRESETS[hold]
        if power is not None and scaling not in (None, power):
            raise Mistake(
                f"hold is {hold}, whose rate follows the batch as B^{power:g}, but scaling is "
                f"{scaling}: leave scaling out, or give a Hold(…) with the rules that you want"
            )
        scaling = scaling if power is None else power
        if not values.weight_decay:
            rules = dataclasses.replace(rules, weight_decay=None)
    elif hold is None or isinstance(hold, Hold):
        rules = hold or Hold()
    else:
        raise Mistake(f"hold is {shown(hold)}: give one of {', '.join(PRESETS)}, or a Hold")
    _check(rules, values)
    return rules, 1.0 if scaling is None else scaling


def _check(hold: Hold, values: Values) -> None:
    for name, check in (("b2", share), ("eps", positive), ("weight_decay", not_negative)):
        if (value := getattr(values, name)) is not None:
            check(name, value)
    if missing := [name for name in hold.names if getattr(values, name) is None]:
        examples = {"b2": "0.95", "eps": "1e-8", "weight_decay": "0.1"}
        given = ", ".join(f"{name}={examples[name]}" for name in missing)
        raise Mistake(
            f"hold makes {' and '.join(missing)} follow the batch, but what to begin with is not "
            f"known: give couple(…, {given}), or in an experiment an optimizer that takes it, such "
            f"as AdamW({given}) or a function of (rate, momentum, {given})"
        )
    if hold.momentum and not values.momentum:
        raise Mistake(
            "hold makes momentum follow the batch, but momentum is 0: give it, for example 0.9, or "
            "leave it out of hold"
        )


def check_largest(hold: Hold, values: Values, largest: int, base: int) -> None:
    """Refuse a largest batch size at which a rule gives no value."""
    for name in ("momentum", "b2"):
        value = getattr(values, name)
        if getattr(hold, name) == "malladi" and (1 - value) * largest > base:
            most = int(base / (1 - value) * (1 + 1e-9))
            raise Mistake(
                f"hold.{name} is malladi, and at batch {largest:,} it would be "
                f"1 − (1 − {value:g}) · {largest:,}/{base:,} = {1 - (1 - value) * largest / base:g}"
                f", below 0: give batches of at most {most:,}, a {name} nearer to 1, or half_life"
            )


def follow(hold: Hold, values: Values, kappa: Any, scaling: float) -> Values:
    """Return the values at κ times the batch that they are for.

    Args:
        hold: the rules.
        values: at κ = 1.
        kappa: κ, over 0: a float, or float64 of any shape, which those that follow then have too.
        scaling: p, the rate follows the batch as B^p.
    """

    def decayed(rule: str | None, value: Any) -> Any:
        if rule == "half_life":
            return value**kappa
        return value if rule is None else 1 - (1 - value) * kappa

    eps, decay = values.eps, values.weight_decay
    return Values(
        momentum=decayed(hold.momentum, values.momentum),
        b2=decayed(hold.b2, values.b2),
        eps=eps if eps is None or hold.eps is None else eps / kappa**0.5,
        weight_decay=(
            decay if decay is None or hold.weight_decay is None else decay * kappa ** (1 - scaling)
        ),
    )
