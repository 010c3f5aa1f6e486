"""Write the report page: one self-contained file, with the figures as PNG files beside it."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
)

from jbatch.experiment.comparison import Comparison
from jbatch.files import write_whole
from jbatch.printable import printable
from jbatch.report.curves import compare_curves
from jbatch.report.runs import Record, find, lost, summarize
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
from jbatch.run.goodput import account_text


def write_report(
    directory: Path,
    title: str,
    docstring: str,
    records: Sequence[Record],
    comparison: Comparison | None,
) -> Path:
    """Write report.html and the figures' PNG files into `directory`, and return the page's path."""
    from jbatch.report.drawing import saved
    from jbatch.report.figures import figures

    summaries = summarize(records, comparison)  # refuses runs that cannot share a report
    header, rows = comparison_table(summaries, comparison) if summaries else ((), [])
    groups = []
    for group in figures(records, comparison):
        shown = []
        for name, (caption, figure) in group.figures.items():
            write_whole(directory / f"{name}.png", saved(figure, "png"))
            shown.append({"caption": caption, "svg": b64encode(saved(figure, "svg")).decode()})
        groups.append((group.title, shown))
    findings = find(summaries, comparison)
    gone = lost(records, comparison)
    outcomes = {finding.as_claimed for finding in findings} | ({None} if gone else set())
    plans = {record.variant: record for record in records}
    made = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in record.environment.items())
        for record in records
    )
    page = template("page.html.jinja").render(
        title=title,
        docstring=docstring,
        swept=", ".join(swept(records)),
        changed=changed(records),
        header=header,
        rows=rows,
        notes=" ".join(table_notes(header, summaries)),
        findings=[finding_text(finding) for finding in findings],
        conclusion=conclusion(findings, gone) if findings or gone else "",
        curves=[curve_text(curve) for curve in compare_curves(records, comparison)],
        memories=transient_lines(records),
        mood="fails" if False in outcomes else "holds" if outcomes == {True} else "",
        unfinished=", ".join(
            f"{record.variant} seed {record.seed}"
            for record in records
            if not (record.finished or record.diverged)
        ),
        diverged=" ".join(diverged(records)),
        groups=groups,
        plans=[(variant, record.table) for variant, record in plans.items()],
        accounts=[
            f"{record.variant} seed {record.seed}: {account_text(record.account)}"
            for record in records
            if record.account
        ],
        environment="; ".join(made),
    )
    path = directory / "report.html"
    write_whole(path, page)
    return path


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
