"""Make the report page: one file that needs no other, and the figures as PNG and SVG beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
)

from jbatch.errors import Mistake
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.stated import Stated
from jbatch.files import write_whole
from jbatch.printable import printable
from jbatch.report.curves import compare_curves
from jbatch.report.listed import state
from jbatch.report.more_seeds import more_seeds_text
from jbatch.report.runs import Record, awaited, find, lost, summarize
from jbatch.report.speed import not_faster
from jbatch.report.text import (
    changed,
    comparison_table,
    conclusion,
    curve_text,
    diverged,
    finding_text,
    swept,
    table_notes,
    transient_lines,
)
from jbatch.report.trained import trained
from jbatch.run.goodput import account_text
from jbatch.run.metrics import scores_of, scores_text


class Live(NamedTuple):
    """Mark a page that is served while runs go on."""

    built: str  # differs between two pages
    poll: int  # milliseconds between two looks for a newer one


def write_report(
    directory: Path,
    title: str,
    stated: Stated,
    records: Sequence[Record],
    price: float | None = None,
) -> Path:
    """Write report.html and the figures' files into `directory`, and return the page's path.

    Args:
        directory: where it is written; links are relative to it.
        title: of the page.
        stated: what the runs' experiment file states.
        records: of the runs.
        price: of a device for an hour, in any currency; None for a report without cost.
    """
    text, files = _page(title, stated, records, price, directory, None)
    for name, content in files.items():
        write_whole(directory / name, content)
    path = directory / "report.html"
    write_whole(path, text)
    return path


def live_page(
    title: str, stated: Stated, records: Sequence[Record], price: float | None, live: Live
) -> str:
    """Return the page as text, without links; it reloads itself when there is a newer one."""
    text, _ = _page(title, stated, records, price, None, live)
    return text


def waiting_page(title: str, why: str, live: Live) -> str:
    """Return a page that says why there is no report yet; it reloads itself as `live_page`."""
    return template("waiting.html.jinja").render(title=title, why=why, live=live)


def _page(
    title: str,
    stated: Stated,
    records: Sequence[Record],
    price: float | None,
    directory: Path | None,
    live: Live | None,
) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the files beside it: name → content."""
    from jbatch.report.drawing import saved
    from jbatch.report.figures import figures
    from jbatch.report.inline import inline

    if price is not None:
        _check_devices(records)
    comparison = stated.comparison
    said = _said(records, comparison, price)
    runs = [_run(record, directory) for record in records]  # before figures: states change
    groups: list[tuple[str, list[dict[str, Any]]]] = []
    files: dict[str, bytes] = {}
    for group in figures(records, comparison, price):
        shown = []
        for name, (caption, figure) in group.figures.items():
            svg = saved(figure, "svg")
            shown.append({"name": name, "caption": caption, "svg": inline(svg, figure, caption)})
            if directory is not None:
                files |= {f"{name}.svg": svg, f"{name}.png": saved(figure, "png")}
        groups.append((group.title, shown))
    page = template("page.html.jinja").render(
        title=title,
        docstring=stated.docstring,
        live=live,
        groups=groups,
        runs=runs,
        **said,
    )
    return page, files


def _check_devices(records: Sequence[Record]) -> None:
    for record in records:
        if record.devices is None:
            raise Mistake(
                f"{record.directory}/run.json does not say on how many devices the run began, so "
                "its cost is not known: give no price"
            )


def _said(
    records: Sequence[Record], comparison: Comparison | None, price: float | None
) -> dict[str, Any]:
    """Return the page's table and sentences."""
    summaries = summarize(records, comparison)  # refuses runs that cannot share a report
    header, rows = comparison_table(summaries, comparison, price) if summaries else ((), [])
    findings, gone = find(summaries, comparison), lost(records, comparison)
    going = awaited(records, comparison)
    open_ = {None} if gone or going else set()
    outcomes = {finding.as_claimed for finding in findings} | open_
    environments = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in record.environment.items())
        for record in records
    )
    return {
        "swept": ", ".join(swept(records)),
        "changed": changed(records),
        "header": header,
        "rows": rows,
        "notes": " ".join(table_notes(header, summaries)),
        "slow": not_faster(records, comparison),
        "findings": [finding_text(finding) for finding in findings],
        "conclusion": conclusion(findings, gone, going) if findings or gone else "",
        "more": [text for text in map(more_seeds_text, findings) if text],
        "curves": [curve_text(curve) for curve in compare_curves(records, comparison)],
        "memories": transient_lines(records),
        "mood": "fails" if False in outcomes else "holds" if outcomes == {True} else "",
        "diverged": " ".join(diverged(records)),
        "trained": trained(records),
        "plans": list({record.variant: record.table for record in records}.items()),
        "environment": "; ".join(environments),
    }


def _run(record: Record, directory: Path | None) -> dict[str, str]:
    """Name a run, link its directory and say how far it is."""
    taken = record.lines[-1]["update"] if record.lines else 0
    said = [f"{state(record)}, {taken:,} of {record.plan.num_updates:,} updates"]
    if record.evaluations:
        said.append(f"newest evaluation: {scores_text(scores_of(record.final))}")
    if record.account:
        said.append(account_text(record.account))
    link = ""
    if directory is not None:
        relative = record.directory.relative_to(directory).as_posix()
        link = "./" if relative == "." else f"./{quote(relative, errors='surrogateescape')}/"
    return {"name": f"{record.variant} seed {record.seed}", "link": link, "said": "; ".join(said)}


def template(name: str, folder: Path | None = None) -> Template:
    """Load a page's template from this package or from another folder."""
    loaders = [PackageLoader("jbatch.report", ".")]
    environment = Environment(
        loader=ChoiceLoader(loaders + ([FileSystemLoader(folder)] if folder else [])),
        autoescape=True,
        finalize=lambda value: printable(value, "\n\t") if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
