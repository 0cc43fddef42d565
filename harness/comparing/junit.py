"""JUnit XML: one test case a task (and pair). A proven regression is a failure; an open question is skipped, or with
--strict a failure of type `inconclusive`; what could not be compared likewise."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from harness.comparing._cells import cells, details, header, legend
from harness.comparing._report import Refusal, Report, Row
from leaderboard import view
from leaderboard.gate import INCONCLUSIVE, REGRESSION


def render(report: Report) -> str:
    cases = [*(_case(report, row) for row in report.rows), *(_refused(report, r) for r in report.refusals)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": "0",
    }
    root = ET.Element("testsuites", {"name": "harness compare", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": "harness compare", **counts})
    properties = ET.SubElement(suite, "properties")
    rule = report.rule
    for name, value in {
        "question": report.question or "none",
        "verdict": report.verdict,
        "margin_points": f"{100 * rule.margin:g}",
        "alpha": f"{rule.alpha:g}",
        "metric": report.metric,
    }.items():
        ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _text("\n".join([report.headline, *report.notes, legend(report)]))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(report: Report, row: Row) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(row.pair.title), "name": _text(row.task), "time": "0"})
    words = [f"{name}: {cell}" for name, cell in zip(header(report), cells(report, row), strict=True)]
    told = _text("\n".join([*words, *details(report, row)]))
    verdict = row.decision.verdict
    if report.question and verdict == REGRESSION:
        _failed(case, REGRESSION, f"{row.task}: {view.points(row.comparison.difference, 2)} points", told)
    elif report.question and verdict == INCONCLUSIVE:
        _open(case, report, "neither a regression nor its absence is proven", told)
    ET.SubElement(case, "system-out").text = told
    return case


def _refused(report: Report, refusal: Refusal) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(refusal.pair.title), "name": _text(refusal.task), "time": "0"})
    _open(case, report, refusal.sentence, "")
    return case


def _open(case: ET.Element, report: Report, message: str, told: str) -> None:
    if report.question and report.strict:
        _failed(case, INCONCLUSIVE, message, told)
    else:
        ET.SubElement(case, "skipped", {"message": _text(message)})


def _failed(case: ET.Element, kind: str, message: str, told: str) -> None:
    ET.SubElement(case, "failure", {"type": kind, "message": _text(message)}).text = told


def _text(text: str) -> str:
    """XML has no way to write most control characters, and a lone surrogate is no text: they are shown instead."""
    return view.visible(text)
