"""The files of the report, and the short form for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1dl.artifacts import write_json, write_text
from l1dl.report.build import build_report
from l1dl.report.figures import all_figures
from l1dl.report.format import NARROW, count, share, with_error, with_interval
from l1dl.report.html import render_html
from l1dl.report.inputs import ReportInputs
from l1dl.report.judge import comparison_title
from l1dl.report.physics import MODELS


def write_report(inputs: ReportInputs, directory: Path) -> Path:
    """Write ``report.json`` and ``report.html`` to `directory` and return the path of the page.

    Raises
    ------
    InputError
        The results contradict each other.
    StorageError
        A file cannot be written.
    """
    report = build_report(inputs)
    page = render_html(report, all_figures(inputs))
    write_json(directory / "report.json", report)
    write_text(directory / "report.html", page)
    return directory / "report.html"


def summary_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a terminal shows of the report, as pairs of name and value."""
    verdict, latency, resources, test = (
        report["verdict"],
        report["latency"],
        report["resources"],
        report["cosim"]["self_test"],
    )
    rows = [
        ("model", report["model"]["name"]),
        ("verdict", "good" if verdict["good"] else "not good"),
        ("bit-exact", "yes" if verdict["bit_exact"] else "NO"),
    ]
    rows += [(comparison_title(name), _comparison(outcome)) for name, outcome in report["agreement"].items()]
    physics = report["physics"] or {}
    for model in (name for name in MODELS if name in physics):
        entry = physics[model]
        text = f"accuracy {with_error(entry['accuracy'], entry['accuracy_error'], scale=100, unit='%')}"
        area = with_error(entry["auc"]["macro"], entry["auc_error"]["macro"])
        rows.append((model, f"{text}, macro AUC {area}{_because(entry['reason'])}"))
    rows += [(f"float against RTL, {loss['output']}", _loss(loss)) for loss in report["float_loss"]]
    rows += [(f"softmax {each['output']}", _softmax(each)) for each in report["softmax"]]
    rows += [
        ("latency", f"{latency['cycles']} cycles, {latency['ns']:g} ns at {latency['clock_period_ns']:g} ns"),
        ("initiation interval", str(latency["initiation_interval"])),
    ]
    figures = ", ".join(f"{count(resources[key])} {key.upper()}" for key in ("lut", "ff", "dsp", "bram"))
    rows.append(("resources", f"{figures}{_because(resources['reason'])}"))
    rows.append(("", resources["origin"]))
    expected = (resources["estimate"] or {}).get("expected")
    if expected:
        figures = ", ".join(
            f"{with_interval(each['value'], each['low'], each['high'])} {name.upper()}"
            for name, each in expected.items()
        )
        rows.append(("before synthesis", f"{figures}; 95{NARROW}% of {expected['lut']['networks']} random networks"))
    timing = report["timing"]
    if timing["delay_ns"] is not None:
        slack = f"slack {timing['slack_ns']:+.2f} ns at {latency['clock_period_ns']:g} ns"
        rows.append(("slowest stage", f"{timing['delay_ns']:.2f} ns, {slack}"))
        rows.append(("", timing["origin"]))
    rows += [(f"budget {entry['name']}", f"{entry['verdict']}: {entry['reason']}") for entry in report["budget"]]
    vectors = sum(report["cosim"]["vectors"].values())
    rows.append(("co-simulation", f"{count(vectors)} events, {count(report['cosim']['events_per_s'])} events/s"))
    if test is None:
        rows.append(("self-test", "not run"))
    else:
        rows.append(("self-test", f"{'seen' if test['seen'] else 'NOT SEEN'}: {test['fault']}"))
    return rows


def _comparison(outcome: Mapping[str, Any]) -> str:
    if outcome["mismatches"] is None:
        return f"not compared{_because(outcome['reason'])}"
    return f"{count(outcome['mismatches'])} mismatches in {count(outcome['events'])} events"


def _loss(loss: Mapping[str, Any]) -> str:
    text = (
        f"RMS difference {loss['rms']:.3g}, largest {loss['maximum']:.3g} (spread of the values {loss['spread']:.3g})"
    )
    same = loss["argmax_agreement"]
    return text if same is None else f"{text}, same argmax in {share(same)}"


def _softmax(found: Mapping[str, Any]) -> str:
    return (
        f"same class as Keras in {share(found['agreeing'])}, tied in {share(found['tied'])}, another one in "
        f"{share(found['flipped'])}; largest difference {found['maximum']:.2g}"
    )


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
