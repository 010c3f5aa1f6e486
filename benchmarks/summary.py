"""Say in five lines what a machine does, from the results of the suite, for a newcomer."""

from collections.abc import Mapping, Sequence

from jbatch.text import significant

FULL = 0.9  # of a network's highest speed: then it fills the machine


def lines(found: Mapping[str, dict]) -> list[str]:
    """Return the lines that the results allow, at most five.

    Args:
        found: results by the benchmark's name, as their JSON holds them.
    """
    rows = found.get("updates_per_second", {}).get("rows", [])
    networks = list(dict.fromkeys(row["network"] for row in rows))
    said = [_machine(next(iter(found.values()))["environment"], found)] if found else []
    if networks:
        said.append("; ".join(_filled(name, _of(rows, name)) for name in networks) + ".")
        said.append(_fullest(rows))
    if peers := found.get("peers", {}).get("rows"):
        said.append(_peers(peers))
    if changes := found.get("phase_change", {}).get("rows"):
        said.append(_growth(changes))
    return said


def _of(rows: Sequence[dict], name: str) -> list[dict]:
    return sorted(
        (row for row in rows if row["network"] == name), key=lambda row: row["batch_size"]
    )


def _machine(environment: Mapping, found: Mapping[str, dict]) -> str:
    peak = found.get("updates_per_second", {}).get("peak")
    rate = f", whose matrix products reach {significant(peak / 1e9, 3)} GFLOP/s" if peak else ""
    return (
        f"This machine trains on {environment['devices']} ({environment['processor']}) with "
        f"{environment['cores']} cores{rate}."
    )


def _filled(name: str, rows: Sequence[dict]) -> str:
    highest = max(row["examples_per_second"] for row in rows)
    row = next(row for row in rows if row["examples_per_second"] >= FULL * highest)
    return (
        f"{name} fills it from batch {row['batch_size']:,} on, at "
        f"{row['examples_per_second']:,.0f} examples/s and "
        f"{significant(row['epoch_seconds'], 2)} s an epoch"
    )


def _fullest(rows: Sequence[dict]) -> str:
    row = max(rows, key=lambda row: row["utilization"])
    slowest = min(_of(rows, row["network"]), key=lambda row: row["examples_per_second"])
    share = slowest["examples_per_second"] / row["examples_per_second"]
    return (
        f"The fullest is {row['network']} at batch {row['batch_size']:,}: {row['utilization']:.0%} "
        f"of that rate; batch {slowest['batch_size']:,} trains it at {share:.0%} of the speed."
    )


def _peers(rows: Sequence[dict]) -> str:
    others = [row for row in rows if row["loop"] != "jbatch"]
    loops = dict.fromkeys(row["loop"] for row in others)
    said = []
    for loop in loops:
        ratios = [row["ratio"][0] for row in others if row["loop"] == loop]
        said.append(f"{min(ratios):.2f} to {max(ratios):.2f} of {loop}")
    return f"jbatch's speed is {', '.join(said)} (the same networks in other loops)."


def _growth(rows: Sequence[dict]) -> str:
    worst = min(rows, key=lambda row: row["ratio"][0])
    stall = 1 / worst["ratio"][0] - 1
    return (
        f"A batch that grows costs {significant(max(stall, 0.0), 2)} of one update at most, once "
        f"({worst['network']}, to {worst['batch'][1]:,}): let it grow where the table says that "
        "the machine has room."
    )
