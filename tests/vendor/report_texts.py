"""Reports in the formats of the vendors' tools, written for the tests: figures are made up."""

# ruff: noqa: E501  tables are as wide as the tools print them

from __future__ import annotations

FAMILIES = {
    # name: part, LUTs, registers, DSP, sections of block RAM and arithmetic after synthesis and after placement
    "UltraScale+": (
        "xcvu13p-flga2577-2-e",
        "CLB LUTs",
        "CLB Registers",
        "DSPs",
        ("CLB Logic", "BLOCKRAM", "ARITHMETIC"),
    ),
    "7 series": ("xc7z020clg400-1", "Slice LUTs", "Slice Registers", "DSPs", ("Slice Logic", "Memory", "DSP")),
    "Versal": (
        "xcv80-lsva4737-2MHP-e-S",
        "CLB LUTs",
        "Registers",
        "DSP Slices",
        ("Netlist Logic", "BLOCKRAM", "ARITHMETIC"),
    ),
}


def utilisation(
    *, version: str = "2023.2", family: str = "UltraScale+", state: str = "Routed", top: str = "tiny",
    lut: str = "43210", ff: str = "25678", dsp: str = "12", bram: str = "2.5",
) -> str:  # fmt: skip
    """Return a report of ``report_utilization``; Prohibited is a column since 2020.1, CLB distribution is there once placed."""
    part, luts, registers, dsps, (logic, memory, arithmetic) = FAMILIES[family]
    new, placed = version >= "2020.1", state != "Synthesized"
    star = "*" if family != "Versal" and not placed else ""
    sections = [
        (
            logic,
            [
                (luts + star, lut),
                ("  LUT as Logic", lut),
                (registers, ff),
                ("  Register as Flip Flop", ff),
                ("F7 Muxes", "0"),
            ],
        )
    ]
    if placed:
        sections.append(
            (
                f"{logic.split()[0]} Logic Distribution",
                [("CLB", "7044"), ("LUT as Logic", lut), (registers, "1"), ("CLB LUTs", "1")],
            )
        )
    sections.append(
        (
            memory,
            [
                ("Block RAM Tile", bram),
                ("  RAMB36/FIFO*", "2"),
                ("    RAMB36E2 only", "2"),
                ("  RAMB18", "1"),
                ("URAM", "0"),
            ],
        )
    )
    sections.append((arithmetic, [(dsps, dsp), ("  DSP48E2 only", dsp)]))
    text = (
        head(version, "report_utilization -file utilization.rpt", top, part, state)
        + "\nUtilization Design Information\n\n"
    )
    text += (
        "Table of Contents\n-----------------\n"
        + "".join(f"{n}. {name}\n" for n, (name, _) in enumerate(sections, 1))
        + "\n"
    )
    for number, (name, rows) in enumerate(sections, 1):
        columns = ["Site Type", "Used", "Fixed", *(["Prohibited"] if new else []), "Available", "Util%"]
        cells = [[site, used, "0", *(["0"] if new else []), "1728000", "<0.01"] for site, used in rows]
        text += f"{number}. {name}\n{'-' * (len(name) + 3)}\n\n{table(columns, cells)}\n* Warning! LUT value is adjusted\n\n"
    primitives = table(
        ["Ref Name", "Used", "Functional Category"], [["CLB LUTs", "9", "CLB"], ["FDRE", ff, "Register"]]
    )
    return f"{text}9. Primitives\n-------------\n\n{primitives}\n"


def head(version: str, command: str, top: str, part: str, state: str) -> str:
    rule = "-" * 100
    tool = f"Vivado v.{version} (lin64) Build 4029153 Fri Oct 13 20:13:54 MDT 2023"
    fields = {
        "Tool Version": tool, "Date": "Sat Nov 21 20:17:47 2026", "Host": "somewhere running 64-bit AlmaLinux",
        "Command": command, "Design": top, "Device": part, "Speed File": "-2", "Design State": state,
    }  # fmt: skip
    lines = "".join(f"| {name:12} : {value}\n" for name, value in fields.items())
    return f"Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.\n{rule}\n{lines}{rule}\n"


def table(columns: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |\n"
        for row in [columns, *rows]
    ]
    return rule + lines[0] + rule + "".join(lines[1:]) + rule


def timing(
    *, version: str = "2023.2", state: str = "Routed", top: str = "tiny", wns: str = "0.412", period: str = "5.000",
    clock: str = "clk", constrained: bool = True,
) -> str:  # fmt: skip
    """Return a report of ``report_timing_summary``."""
    rule = "-" * 96 + "\n"
    names = ["WNS(ns)", "TNS(ns)", "TNS Failing Endpoints", "TNS Total Endpoints", "WHS(ns)", "THS(ns)",
             "THS Failing Endpoints", "THS Total Endpoints", "WPWS(ns)", "TPWS(ns)", "TPWS Failing Endpoints",
             "TPWS Total Endpoints"]  # fmt: skip
    values = [wns, "0.000", "0", "48021", "0.031", "0.000", "0", "48021", "2.225", "0.000", "0", "26493"]
    verdict = "All user specified timing constraints are met."
    if not constrained:
        values, verdict = ["NA"] * 12, "There are no user specified timing constraints."
    elif wns.startswith("-"):
        verdict = "Timing constraints are not met."

    def row(cells: list[str]) -> str:
        return "    " + "  ".join(cell.rjust(len(name)) for cell, name in zip(cells, names, strict=True)) + "  \n"

    clocks = (
        f"{clock:5}  {{0.000 {float(period) / 2:.3f}}}        {period}           {1000 / float(period):.3f}         \n"
    )
    return (
        head(version, "report_timing_summary -file timing.rpt", top, "xcvu13p-flga2577", state)
        + "\nTiming Summary Report\n\n" + rule + "| Timer Settings\n| --------------\n" + rule
        + "\n  Enable Multi Corner Analysis               :  Yes\n\n"
        + rule + "| Design Timing Summary\n| ---------------------\n" + rule + "\n" + row(names)
        + row(["-" * len(name) for name in names]) + row(values) + f"\n\n{verdict}\n\n\n"
        + rule + "| Clock Summary\n| -------------\n" + rule
        + "\nClock  Waveform(ns)         Period(ns)      Frequency(MHz)\n-----  ------------         ----------      --------------\n"
        + (clocks if constrained else "")
        + "\n\n" + rule + "| Intra Clock Table\n| -----------------\n" + rule
        + f"\nClock             WNS(ns)      TNS(ns)\n-----             -------      -------\n{clock}  {wns}  0.000\n"
    )  # fmt: skip


def csynth(
    *, version: str = "2023.2", top: str = "tiny", latency: str = "12", lut: str = "31337", dsp: str = "DSP"
) -> str:
    """Return ``csynth.xml``; Vivado HLS, and Vitis HLS for some families, call its DSP ``DSP48E``."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<profile>
<ReportVersion><Version>{version}</Version></ReportVersion>
<UserAssignments>
<unit>ns</unit><ProductFamily>virtexuplus</ProductFamily><Part>xcvu13p-flga2577-2-e</Part>
<TopModelName>{top}</TopModelName><TargetClockPeriod>5.00</TargetClockPeriod><ClockUncertainty>1.35</ClockUncertainty>
<FlowTarget>vivado</FlowTarget>
</UserAssignments>
<PerformanceEstimates>
<PipelineType>yes(flp)</PipelineType>
<SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>3.621</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfOverallLatency>
<unit>clock cycles</unit><Best-caseLatency>{latency}</Best-caseLatency><Average-caseLatency>{latency}</Average-caseLatency>
<Worst-caseLatency>{latency}</Worst-caseLatency><Best-caseRealTimeLatency>60.000 ns</Best-caseRealTimeLatency>
<DataflowPipelineThroughput>1</DataflowPipelineThroughput><Interval-min>1</Interval-min><Interval-max>1</Interval-max>
</SummaryOfOverallLatency>
</PerformanceEstimates>
<AreaEstimates>
<Resources><BRAM_18K>3</BRAM_18K><{dsp}>17</{dsp}><FF>4242</FF><LUT>{lut}</LUT><URAM>0</URAM></Resources>
<AvailableResources><BRAM_18K>5376</BRAM_18K><{dsp}>12288</{dsp}><FF>3456000</FF><LUT>1728000</LUT><URAM>1280</URAM></AvailableResources>
</AreaEstimates>
</profile>
"""


def cosim(*, version: str = "2023.2", top: str = "tiny", status: str = "Pass", latency: str = "13") -> str:
    """Return the co-simulation report; since 2021.1 it has the total execution time at its end."""
    new = version >= "2021.1"
    figures = [latency, latency, latency, "1", "1", "1", *(["2021"] if new else [])]
    total = "+----------------------+" if new else "+"
    rule = "+----------+----------+" + "-" * 47 + "+" + "-" * 47 + total + "\n"
    empty = ["NA"] * len(figures)

    def row(language: str, state: str, cells: list[str]) -> str:
        return f"|{language:>10}|{state:>10}|" + "|".join(f"{cell:>15}" for cell in cells) + "|\n"

    return (
        "=" * 64 + f"\n== Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v{version} (64-bit)\n" + "=" * 64
        + f"\n\n\nCosimulation Report for '{top}'\n\n" + rule
        + "|          |          |                    Latency                    |                    Interval                   |"
        + (" Total Execution Time |\n" if new else "\n")
        + "+   RTL    +  Status  +-----------------------------------------------+-----------------------------------------------+\n"
        + "|          |          |      min      |      avg      |      max      |      min      |      avg      |      max      |\n"
        + rule + row("VHDL", "NA", empty) + row("Verilog", status, figures if status == "Pass" else empty) + rule
    )  # fmt: skip


def fit(
    *,
    edition: str = "21.4.0 Build 67 12/06/2021 SC Pro Edition",
    top: str = "tiny",
    status: str = "Successful",
    registers: str = "9921",
) -> str:
    """Return ``fit.summary``; Quartus Pro counts dedicated registers, Standard all."""
    pro = "Pro" in edition
    rows = {
        "Fitter Status": f"{status} - Sat Nov 21 20:17:47 2026", "Quartus Prime Version": edition,
        "Revision Name": "design", "Top-level Entity Name": top, "Family": "Agilex" if pro else "Arria 10",
        "Device": "AGFB014R24B2E2V", "Timing Models": "Final",
    }  # fmt: skip
    if status == "Successful":
        rows |= {
            "Logic utilization (in ALMs)": "22,417 / 487,200 ( 5 % )",
            "Total dedicated logic registers" if pro else "Total registers": registers,
            "Total pins": "1 / 924 ( < 1 % )", "Total block memory bits": "4,096 / 145,612,800 ( < 1 % )",
            "Total RAM Blocks": "3 / 7,110 ( < 1 % )", "Total DSP Blocks": "0 / 4,510 ( 0 % )",
        }  # fmt: skip
    return "".join(f"{name} : {value}\n" for name, value in rows.items())


def sta(slacks: tuple[str, ...] = ("0.812", "-0.133", "1.904")) -> str:
    """Return ``sta.summary`` with a setup and a hold check of each corner."""
    rule = "-" * 60
    text = f"{rule}\nTiming Analyzer Summary\n{rule}\n\n"
    for corner, slack in zip(("Slow vid2 100C", "Slow vid2 0C", "Fast vid2 0C"), slacks, strict=False):
        for kind, value in (("Setup", slack), ("Hold", "-5.0"), ("Minimum Pulse Width", "-6.0")):
            text += f"Type  : {corner} Model {kind} 'clk'\nSlack : {value}\nTNS   : 0.000\n\n"
    return text + f"{rule}\n{rule}\n"
