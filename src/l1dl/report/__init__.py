"""The report of a model: ``report.json`` for programs, ``report.html`` for people.

`build_report` turns the results of all stages into JSON types, `figures` draws them, `render_html` lays
both out on one self-contained page, and `write_report` puts the files into the run directory.
"""

from l1dl.report.build import SCHEMA, build_report
from l1dl.report.html import render_html
from l1dl.report.inputs import LayerAgreement, Physics, ReportInputs
from l1dl.report.write import summary_rows, write_report

__all__ = [
    "SCHEMA",
    "LayerAgreement",
    "Physics",
    "ReportInputs",
    "build_report",
    "render_html",
    "summary_rows",
    "write_report",
]
