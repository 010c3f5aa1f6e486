"""Limits of the machine that this process runs on."""

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

from jbatch.errors import Mistake

QUOTA_V2 = "cpu.max"  # of a control group: "max 100000", or microseconds per period
QUOTA_V1, PERIOD_V1 = "cpu.cfs_quota_us", "cpu.cfs_period_us"
CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def schedulable_cores() -> int:
    """Count the cores that this process may run on, as XLA does."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Count the cores that this process can keep busy: schedulable, and within its cgroup quota."""
    return min([schedulable_cores(), *(max(1, int(cores)) for cores in _quotas())])


def allow_open_files(count: int, why: str) -> None:
    """Raise this process's limit of open files if it is under `count`.

    Args:
        count: open files needed.
        why: who needs them, in the plural, for the message.

    Raises:
        Mistake: if the system's hard limit is under `count` too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) and soft == resource.RLIM_INFINITY:
        return
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < count:
        raise Mistake(
            f"{why} need {count:,} open files, but only {soft:,} are allowed (ulimit -n): raise "
            "the limit, or lower --data.workers"
        )


def processor() -> str:
    """Return the model of the machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _quotas() -> list[float]:
    """List the quota in cores of each of this process's control groups that has one."""
    found = []
    for folder in _groups():
        with suppress(OSError, ValueError):
            quota, period = (folder / QUOTA_V2).read_text().split()
            found.append(int(quota) / int(period))
        with suppress(OSError, ValueError):
            microseconds = int((folder / QUOTA_V1).read_text())
            if microseconds > 0:
                found.append(microseconds / int((folder / PERIOD_V1).read_text()))
    return found


def _groups() -> list[Path]:
    """List the control groups that may limit this process's time, with their parents."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = Path(path.lstrip("/"))
        for root in (CGROUPS, CGROUPS / (controllers or "unified"), CGROUPS / "cpu"):
            groups += [root / part for part in (inside, *inside.parents)]
    return groups
