"""Trackers by their names on the command line, such as wandb:project=digits."""

import dataclasses
from collections.abc import Sequence

from jbatch.errors import Mistake, meant, shown
from jbatch.trackers.mlflow import MLflow
from jbatch.trackers.tracker import Tracker
from jbatch.trackers.trackio import Trackio
from jbatch.trackers.wandb import WandB

TRACKERS: dict[str, type[WandB] | type[MLflow] | type[Trackio]] = {
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}
EXAMPLE = "wandb:project=digits"


def trackers(given: Sequence[Tracker | str]) -> list[Tracker]:
    """Return trackers as values; those that are given as text by `tracker`.

    Raises:
        Mistake: if one is no tracker, or its library is not installed.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise Mistake(f"log is {shown(given)}: give a list of trackers, such as log=[{EXAMPLE!r}]")
    found = [tracker(each) if isinstance(each, str) else each for each in given]
    for each in found:
        missing = [name for name in ("begin", "line", "end") if not hasattr(each, name)]
        if missing or isinstance(each, type):
            why = f"which has no {missing[0]}" if missing else "a class and no value"
            raise Mistake(
                f"log has {shown(each)}, {why}: give values with begin, line and end, such as "
                "jbatch.WandB()"
            )
    return found


def tracker(text: str) -> Tracker:
    """Return the tracker that a text names, such as "mlflow" or "wandb:project=x,entity=y"."""
    name, _, rest = text.partition(":")
    if name not in TRACKERS:
        raise Mistake(
            f"there is no tracker {name!r}{meant(name, TRACKERS)} (trackers: "
            f"{', '.join(TRACKERS)}; for example {EXAMPLE})"
        )
    kind = TRACKERS[name]
    fields = [field.name for field in dataclasses.fields(kind) if field.init]
    values: dict[str, str] = {}
    for part in rest.split(",") if rest else []:
        field, equals, value = part.partition("=")
        if field not in fields or not equals or not value:
            near = "" if field in fields else meant(field, fields)
            raise Mistake(
                f"{text} has {part!r}: give FIELD=VALUE of {name} ({', '.join(fields)}), for "
                f"example {name}:{fields[0]}=digits{near}"
            )
        if field in values:
            raise Mistake(f"{text} gives {field} twice: give it once")
        values[field] = value
    return kind(**values)


def name_of(tracker: Tracker) -> str:
    """Return what a tracker is called in messages: its name here, or its class."""
    names = [name for name, kind in TRACKERS.items() if isinstance(tracker, kind)]
    return names[0] if names else type(tracker).__name__
