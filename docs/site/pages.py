"""Add the site's pages to it; mkdocs.yml names this module as a hook.

The site has the same folders as the checkout, so a link leads to the same file in both.
"""

import html
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
AS_THEY_ARE = ("*.md", "docs/*.md", "docs/figures/*.png")
# Shown as code, by the language of their names' ends.
LISTINGS = ("examples/*.py", "experiments/*.py", "launch/*", "LICENSE")
LANGUAGES = {".py": "python", ".sbatch": "bash", ".sh": "bash", ".yaml": "yaml", "": "text"}
# A page of the API → its title, and the modules of its names.
API = {
    "plans": ("Plans", "plan.couple plan.plan plan.hold plan.adapt plan.notations"),
    "runs": (
        "Experiments and runs",
        "experiment.experiment run.loop study.from_python study.probe experiment.comparison "
        "run.trained run.sample experiment.weights experiment.load errors",
    ),
    "tasks": (
        "Tasks",
        "task.classify task.regress task.language_model task.network task.functions task.base",
    ),
    "data": (
        "Data",
        "data.sources data.source data.image.photographs data.image.tfds data.text.tokens "
        "data.image.augment data.image.mix data.image.views data.image.normalize data.dataset",
    ),
    "networks": (
        "Networks",
        "models.specs models.language models.norms models.conv.conv models.dense "
        "models.layers models.whitening",
    ),
    "optimizers": ("Optimizers", "optim composed"),
    "trackers": ("Trackers", "trackers.wandb trackers.mlflow trackers.trackio"),
}


class Page(File):
    """A page whose file is no Markdown."""

    def is_documentation_page(self) -> bool:
        """Say so to MkDocs."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add all pages and figures."""
    for path in found(AS_THEY_ARE):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    for path in found(LISTINGS):
        files.append(Page.generated(config, path, content=listing(path)))
    for path in found(["examples/*.ipynb"]):
        text, figures = executed(path)
        files.append(Page.generated(config, path, content=text))
        for name, content in figures.items():
            files.append(File.generated(config, f"examples/{name}", content=content))
    for name, text in api().items():
        files.append(File.generated(config, f"docs/api/{name}.md", content=text))
    files.append(File.generated(config, "docs/help.md", content=commands()))
    return files


def on_page_content(text: str, **_: object) -> str:
    """Turn LaTeX into MathML, which browsers draw without a script."""

    def drawn(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        made = convert(html.unescape(match[2]), display=display)
        # A slash and a bar stand close, as in TeX.
        made = re.sub("<mo>(&#x0002F;|&#x0007C;)</mo>", r'<mo lspace="0" rspace="0">\1</mo>', made)
        return f'<{match[1]} class="arithmatex">{made}</{match[1]}>'

    marked = r'<(span|div) class="arithmatex">\\[([](.*?)\\[)\]]</\1>'
    return re.sub(marked, drawn, text, flags=re.S)


def found(patterns: tuple[str, ...] | list[str]) -> list[str]:
    """Return the paths of files in the checkout."""
    return [
        str(path.relative_to(ROOT))
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
        if path.is_file()
    ]


def listing(path: str) -> str:
    """Return a page that shows a file."""
    language = LANGUAGES[Path(path).suffix]
    return f"# {path}\n\n```{language}\n{(ROOT / path).read_text().rstrip()}\n```\n"


def executed(path: str) -> tuple[str, dict[str, bytes]]:
    """Run a notebook: (its page, file → figure)."""
    notebook = nbformat.read(ROOT / path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute(
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
    name = Path(path).stem
    text, made = MarkdownExporter().from_notebook_node(
        notebook, resources={"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    return text, made["outputs"]


def api() -> dict[str, str]:
    """Return the pages of the API, which must hold every public name."""
    import jbatch

    left, pages = set(jbatch.__all__), {}
    for page, (title, modules) in API.items():
        pages[page] = f"# {title}\n"
        for module in modules.split():
            names = [name for name in jbatch.__all__ if jbatch._HOMES[name] == f"jbatch.{module}"]
            pages[page] += "".join(f"\n::: jbatch.{name}\n" for name in names)
            left -= set(names)
    assert not left, f"API in {__file__} has no page for {left}"
    return pages


def commands() -> str:
    """Return a page of each verb's own help."""
    from jbatch.cli import CODES, VERBS

    text = "# Command line\n\nWhat `jbatch VERB --help` prints.\n"
    with ThreadPoolExecutor(4) as pool:
        for verb, shown in zip(VERBS, pool.map(help_of, VERBS), strict=True):
            text += f"\n## jbatch {verb}\n\n```text\n{shown}\n```\n"
    text += (
        "\n## Fields of an experiment\n\nVerbs that run a file have its fields as flags, here "
        "those of `experiments/digits.py`.\n\n```text\n"
        f"{help_of('plan', 'experiments/digits.py', 'increasing')}\n```\n"
    )
    rows = "\n".join(f"| {code} | {what} |" for code, what in CODES.items())
    return text + f"\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n{rows}\n"


def help_of(*arguments: str) -> str:
    """Return what a command prints with `--help`."""
    command = [sys.executable, "-m", "jbatch", *arguments, "--help"]
    plain = {**os.environ, "COLUMNS": "96", "PYTHONUTF8": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=plain, check=True, capture_output=True, text=True
    ).stdout.strip()
