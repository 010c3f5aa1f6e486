"""The report page as a reader sees it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import chromium
from commands import TINY
from jbatch import load_file
from jbatch.experiment.comparison import Claim, Comparison
from jbatch.experiment.described import describe
from jbatch.report.page import write_report
from jbatch.report.runs import Record
from watched import watched

pytestmark = [chromium.needed, pytest.mark.slow]

# The least contrast of text with what is behind it (WCAG 2.2, level AA), by its formulas.
CONTRAST = """
(() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = parsed(text).slice(0, 3).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor, alpha = parsed(colour)[3];
      if (alpha === undefined || alpha > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 21, where = "";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || text === "■" || ["SCRIPT", "STYLE"].includes(parent.tagName)) continue;
    const style = getComputedStyle(parent);
    const mine = light(parent.closest("svg") ? style.fill : style.color);
    const [low, high] = [mine, light(behind(parent))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) [least, where] = [ratio, text];
  }
  return [least, where];
})()
"""
# What is right of the page, or out of sight in a box that is narrower than its content.
HIDDEN = """
[...document.querySelectorAll("body *:not(svg *)")].filter((each) =>
  each.getBoundingClientRect().right > innerWidth + 0.5
  || (each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== "visible"
      && !each.matches("pre.plan"))
).map((each) => each.tagName + " " + each.textContent.slice(0, 40))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Three seeds of a claim with long names, made up: many columns and all kinds of sentences."""
    directory = tmp_path_factory.mktemp("page")
    experiment = load_file(TINY).variants["growing"]
    plan = experiment.make_plan()
    rng, records = np.random.default_rng(0), []
    names = ("decaying", "growing_with_a_rather_long_name_that_has_no_spaces", "control", "other")
    for name in names:
        for seed in range(3):
            lines = []
            for epoch in (1, 2, 3, 4):
                at = {"update": plan.num_updates * epoch // 4, "examples": plan.end * epoch // 4}
                at |= {"epoch": float(epoch), "seconds": 20.0 * epoch}
                loss = float(np.exp(-epoch) * rng.uniform(0.9, 1.1))
                speed = {"updates_per_second": 12.0, "examples_per_second": 1e5, "input_wait": 0.2}
                lines.append({"kind": "train", "loss": loss, **at, **speed})
                lines.append({"kind": "eval", "loss": loss, "accuracy": 1 - loss / 2, **at})
            values = describe(replace(experiment, seed=seed))
            environment = {"devices": "8 × NVIDIA H100 80GB HBM3", "machine": "x86_64"}
            account = {"training": 70.0, "start-up": 9.0, "saving": 1.0}
            run = Record(directory / name / f"seed-{seed}", name, values, plan, lines)
            run = replace(run, environment=environment, account=account, table=str(plan))
            records.append(run)
    claim = Claim("decaying", same=names[1:2], different=names[2:3])
    comparison = Comparison((claim,), margin=0.5, reach=90)
    stated = replace(load_file(TINY).stated, comparison=comparison)
    return write_report(directory, "A report", stated, records, price=2.5).as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_and_can_be_read(browser, page, width, dark):
    browser.open(page, width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(HIDDEN) == []
    least, where = browser.evaluate(CONTRAST)
    assert least >= 4.5, where
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark
    assert not browser.errors


def test_every_value_of_the_table_is_on_a_phone_too(browser, page):
    browser.open(page, 1280)
    cells = "[...document.querySelectorAll('td')].filter((each) => each.textContent)"
    shown = f"{cells}.filter((each) => each.getBoundingClientRect().height).length"
    wide = browser.evaluate(shown)
    browser.open(page, 360)
    assert browser.evaluate(shown) == wide == browser.evaluate(f"{cells}.length")
    second = "getComputedStyle(document.querySelectorAll('td')[1], '::before').content"
    assert browser.evaluate(second) == '"test accuracy %"'


def test_values_are_shown_under_the_pointer(browser, page):
    browser.open(page, 1280)
    browser.evaluate("document.querySelector('figure').scrollIntoView()")
    x, y = browser.evaluate(
        "(() => { const box = document.querySelector('figure .at:nth-last-of-type(2) rect')"
        ".getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    shown = (
        "[...document.querySelectorAll('.at text')]"
        ".filter((each) => getComputedStyle(each).display !== 'none')"
        ".map((each) => each.textContent)"
    )
    browser.point_at(1, 1)
    assert browser.evaluate(shown) == []
    browser.point_at(x, y)
    [text] = browser.evaluate(shown)
    assert text.startswith("epoch 3")
    assert "control 0.0" in text


def test_it_prints_in_black_on_white(browser, page):
    browser.open(page, 1280, dark=True)
    browser("Emulation.setEmulatedMedia", media="print", features=[])
    background = "getComputedStyle(document.body).backgroundColor"
    assert browser.evaluate(background) == "rgb(255, 255, 255)"
    assert browser.evaluate(CONTRAST)[0] >= 4.5
    browser("Emulation.setEmulatedMedia", media="")


def test_the_live_page_shows_what_runs_log(browser, trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    whole = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(whole[:3]))
    with watched(tmp_path, monkeypatch) as port:
        browser.open(f"http://127.0.0.1:{port}/", 360)
        browser.wait("document.body?.textContent.includes('unfinished')")
        (run / "metrics.jsonl").write_text("".join(whole))
        browser.wait("document.body?.textContent.includes('finished, 98 of 98 updates')")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        assert not browser.errors
    browser.wait("document.body.textContent.includes('No longer live')")
