"""What the programs of the tests do in place of vitis-run, vivado and quartus_sh: they write the reports of a script.

``L1DL_FAKE`` is ``STEP:HOW``: how the tool misbehaves in a step: fail, hang, silent (ends well without reports), cut
(its reports are cut off), wrong (an output of the co-simulation differs a little), other (a checkpoint differs).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import report_texts as texts

VERSIONS = {
    "vitis-run": "****** vitis-run v2024.1 (64-bit)", "vivado": "vivado v2023.2 (64-bit)",
    "quartus_sh": "Quartus Prime Shell\nVersion 21.4.0 Build 67 12/06/2021 SC Pro Edition",
}  # fmt: skip


def main() -> None:
    """Do as the program of this name."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if arguments[0] in ("-version", "--version"):
        print(VERSIONS[program])  # noqa: T201
        return
    step = Path(arguments[-1]).stem
    expected = {
        "vitis-run": ["--mode", "hls", "--tcl"], "vivado": ["-mode", "batch", "-nojournal", "-nolog", "-source"],
        "quartus_sh": ["-t"],
    }[program]  # fmt: skip
    assert arguments == [*expected, f"{step}.tcl"], arguments
    assert Path(f"{step}.tcl").is_file()
    with Path("calls.txt").open("a") as calls:
        calls.write(f"{step}\n")
    where, _, how = os.environ.get("L1DL_FAKE", ":").partition(":")
    how = how if where == step else ""
    print(f"INFO: {program} runs {step}", flush=True)  # noqa: T201
    if how == "hang":
        time.sleep(300)
    if how == "fail":
        print("ERROR: [Common 17-345] A valid license was not found")  # noqa: T201
        sys.exit(1)
    if how == "silent":
        return
    folder = Path("reports") / step
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reports(step, program, how).items():
        (folder / name).write_text(text[: len(text) // 3] if how == "cut" else text)


def reports(step: str, program: str, how: str) -> dict[str, str]:
    """Return the reports of a step by their names."""
    top = next(
        line.split("{")[1].split("}")[0] for line in Path("settings.tcl").read_text().splitlines() if "top" in line
    )
    if program == "quartus_sh":
        return {"design.fit.summary": texts.fit(top=top), "design.sta.summary": texts.sta()}
    if step == "csynth":
        return {"csynth.xml": texts.csynth(version="2024.1", top=top), "csynth.rpt": "for people\n"}
    if step == "cosim":
        outputs = Path("hls/tb_data/tb_output_predictions.dat").read_text()
        if how == "wrong":
            first, rest = outputs.split(" ", 1)
            outputs = f"{float(first) + 2**-30!r} {rest}"
        return {"cosim.rpt": texts.cosim(version="2024.1", top=top), "outputs.log": outputs}
    state = "Synthesized" if step == "synth" else "Routed"
    return {
        "utilization.rpt": texts.utilisation(state=state, top=top), "timing.rpt": texts.timing(state=state, top=top),
        "design.dcp": f"a checkpoint {how}\n",
    }  # fmt: skip
