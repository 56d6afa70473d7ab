"""Single stages placed and routed with nextpnr on Lattice ECP5, licence-free, in parallel and cached by content."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from l1dl.artifacts import digest_json, read_json, write_files, write_json
from l1dl.errors import InputError, ToolFailedError, did_you_mean
from l1dl.synth.memory import MIB, fitting_jobs, jobs_in_memory
from l1dl.synth.scan import CAPTURE, LAUNCH, between_registers
from l1dl.synth.verilog import index_modules, needed_modules
from l1dl.tools import Tool, find_tool, run_parallel, run_tool

logger = logging.getLogger(__name__)

_SCHEMA = 1
"""Of a cache entry and of how it is made."""

_FIRST_START_S = 600.0
_GOAL_MHZ = 400
"""Clock that nextpnr is asked for. It has no effect here: with 12, 200 and 1000 MHz five stages came out the same."""

_STAGE, _NETLIST, _REPORT, _LOG = "stage.json", "netlist.json", "report.json", "nextpnr.log"
# YoWASP nextpnr 0.11 took 342 MB for 3850 cells in an 85F, 400 MB for 7538.
_BASE_BYTES, _BYTES_PER_CELL = 340 * MIB, 20_000

DEVICES = {
    "LFE5U-25F": ("--25k", 24_288),
    "LFE5U-45F": ("--45k", 43_848),
    "LFE5U-85F": ("--85k", 83_640),
    "LFE5UM5G-25F": ("--um5g-25k", 24_288),
    "LFE5UM5G-45F": ("--um5g-45k", 43_848),
    "LFE5UM5G-85F": ("--um5g-85k", 83_640),
}
"""Device → option of nextpnr, and number of LUT4, which is that of flip-flops too."""


@dataclass(frozen=True)
class Device:
    """A device of the ECP5 family.

    Attributes
    ----------
    name
        A key of `DEVICES`.
    speed
        Speed grade 6, 7 or 8, the fastest; 8 alone for LFE5UM5G, whose core runs at a higher voltage.

    Raises
    ------
    InputError
        There is no such device.
    """

    name: str = "LFE5UM5G-85F"
    speed: int = 8

    def __post_init__(self) -> None:
        """Check name and grade."""
        if self.name not in DEVICES:
            msg = f"device {self.name!r} is not known{did_you_mean(self.name, DEVICES)}; there are {', '.join(DEVICES)}"
            raise InputError(msg)
        grades = (8,) if self.name.startswith("LFE5UM5G") else (6, 7, 8)
        if self.speed not in grades:
            msg = f"speed grade {self.speed} of {self.name} does not exist; it has {', '.join(map(str, grades))}"
            raise InputError(msg)

    @property
    def options(self) -> tuple[str, ...]:
        """Options of nextpnr."""
        return DEVICES[self.name][0], "--package", "CABGA381", "--speed", str(self.speed)

    @property
    def cells(self) -> int:
        """Number of LUT4, and of flip-flops."""
        return DEVICES[self.name][1]


@dataclass(frozen=True)
class Route:
    """One placement and routing of a stage, and its critical path.

    Attributes
    ----------
    seed
        Of the placement.
    fmax_mhz
        The highest clock frequency, in MHz.
    delay_ns
        Its period: the critical path from clock to clock, in ns.
    logic_ns, routing_ns
        Its two parts: through cells (registers included) and through wires.
    start, end
        The bits of the stage where the path starts and ends.
    of_stage
        Whether it leads through the stage. If not, the registers around it are slower than the stage, which then is
        faster than `fmax_mhz`.
    """

    seed: int
    fmax_mhz: float
    delay_ns: float
    logic_ns: float
    routing_ns: float
    start: str
    end: str
    of_stage: bool


@dataclass(frozen=True)
class StagePlacement:
    """A stage on the device.

    Attributes
    ----------
    lut4
        LUTs with four inputs that it takes, two for each cell of a carry chain.
    ff
        Flip-flops in front of it and behind it.
    routes
        One for each seed.
    """

    name: str
    lut4: int
    ff: int
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class _Stage:
    """A stage and the Verilog that it needs."""

    name: str
    files: Mapping[str, str]

    @property
    def script(self) -> str:
        reads = "\n".join(f"read_verilog {file}" for file in self.files)
        return (
            f"{reads}\nhierarchy -check -top {self.name}\nsynth_ecp5 -top {self.name}\n"
            f"select {self.name}\nwrite_json -selected {_STAGE}\n"
        )

    @property
    def characters(self) -> int:
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class _Netlist:
    """A stage between its registers, ready to be placed."""

    stage: _Stage
    lut4: int
    ff: int
    folds: int
    directory: Path

    @property
    def cells(self) -> tuple[int, int]:
        """LUTs and flip-flops with all that stands around the stage."""
        return self.lut4 + self.folds, 2 * self.ff


@dataclass(frozen=True)
class _Machine:
    """The programs, their directories and their time limit."""

    yosys: Tool
    nextpnr: Tool
    device: Device
    work: Path
    cache: Path
    timeout_s: float

    def entry(self, stage: _Stage, seed: int) -> Path:
        key = digest_json([
            _SCHEMA, stage.name, dict(stage.files), stage.script, self.yosys.version, self.nextpnr.version,
            self.device.options, _GOAL_MHZ, seed,
        ])  # fmt: skip
        return self.cache / f"nextpnr-{key}.json"

    def stored(self, stage: _Stage, seed: int) -> StagePlacement | None:
        path = self.entry(stage, seed)
        if not path.exists():
            return None
        try:
            entry = read_json(path)
            return StagePlacement(stage.name, int(entry["lut4"]), int(entry["ff"]), (Route(**entry["route"]),))
        except (InputError, KeyError, TypeError, ValueError):
            logger.warning("cache entry %s is damaged; %s is placed again", path, stage.name)
            return None

    def store(self, stage: _Stage, placed: StagePlacement) -> None:
        (route,) = placed.routes
        write_json(self.entry(stage, route.seed), {"lut4": placed.lut4, "ff": placed.ff, "route": vars(route)})


def place_stages(
    files: Mapping[str, str],
    stages: Sequence[str],
    *,
    device: Device = Device(),
    seeds: Sequence[int] = (1, 2, 3),
    work: Path,
    cache: Path,
    jobs: int = 2,
    timeout_s: float = 1800,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[StagePlacement, ...]:
    """Synthesise stages for ECP5, put registers around each, place and route it alone, once for each seed.

    Parameters
    ----------
    files
        File name → Verilog of the design.
    stages
        Names of combinational modules.
    work
        Directory for the inputs and logs of each run, one directory per stage.
    cache
        Directory with all results, named by the digest of the Verilog, the versions of the programs, device and seed.
    jobs
        Number of processes at a time; fewer run when they would not fit in memory together.
    timeout_s
        Time limit of each process, in s.
    progress
        Called with what is being done, how many of it are done, and of all.

    Raises
    ------
    ToolMissingError
        Yosys or nextpnr is absent or too old.
    ToolFailedError
        One of them failed or ran past `timeout_s`. What was finished by then stays in the cache.
    InputError
        A stage does not fit in the device, or in memory; or there is no such module.
    """
    if jobs < 1 or timeout_s <= 0:
        msg = f"jobs={jobs} and timeout_s={timeout_s} must be positive"
        raise InputError(msg)
    machine = _Machine(find_tool("yosys"), find_tool("nextpnr"), device, work.resolve(), cache.resolve(), timeout_s)
    say = progress or (lambda _text, _done, _total: None)
    plan = [_read(files, name) for name in stages]
    tasks = [(stage, seed) for stage in plan for seed in seeds]
    placed = {(stage.name, seed): machine.stored(stage, seed) for stage, seed in tasks}
    missing = [task for task in tasks if placed[task[0].name, task[1]] is None]
    if missing:
        unplaced = [stage for stage in plan if any(stage is each for each, _ in missing)]
        netlists = _synthesise(unplaced, machine, jobs, say)
        for (stage, seed), result in zip(missing, _route(missing, netlists, machine, jobs, say), strict=True):
            placed[stage.name, seed] = result
    found = [[each for seed in seeds if (each := placed[stage.name, seed])] for stage in plan]
    return tuple(replace(each[0], routes=tuple(one.routes[0] for one in each)) for each in found)


def _read(files: Mapping[str, str], name: str) -> _Stage:
    where = index_modules(files)
    if name not in where:
        msg = f"module {name!r} is defined in none of the {len(files)} files{did_you_mean(name, where)}"
        raise InputError(msg)
    needed = sorted({where[module] for module in needed_modules(files, name)})
    return _Stage(name, {file: files[file] for file in needed})


def _synthesise(
    stages: Sequence[_Stage], machine: _Machine, jobs: int, say: Callable[[str, int, int], None]
) -> dict[str, _Netlist]:
    wasm = _prepare(machine.yosys, "-V", machine)
    jobs = fitting_jobs([(stage.name, stage.characters) for stage in stages], min(jobs, len(stages)), wasm=wasm)
    text = "synthesis for ECP5"
    say(text, 0, len(stages))
    work = [functools.partial(_synthesise_one, stage, machine) for stage in stages]
    netlists = run_parallel(work, jobs=jobs, finished=lambda done: say(text, done, len(stages)))
    for netlist in netlists:
        lut4, flip_flops = netlist.cells
        if max(lut4, flip_flops) > machine.device.cells:
            msg = (
                f"stage {netlist.stage.name!r} with the registers around it needs {lut4} LUT4 and {flip_flops} "
                f"flip-flops, and {machine.device.name} has {machine.device.cells} of each; "
                "use a larger device, or more pipeline stages"
            )
            raise InputError(msg)
    return {netlist.stage.name: netlist for netlist in netlists}


def _prepare(tool: Tool, option: str, machine: _Machine) -> bool:
    """Let a WebAssembly program compile itself, once and outside of the time limits; say whether it is one."""
    wasm = any("yowasp" in part for part in tool.command)
    machine.work.mkdir(parents=True, exist_ok=True)
    if wasm:
        log = machine.work / f"{tool.name}_version.log"
        run_tool(tool, [option], cwd=machine.work, log=log, timeout_s=_FIRST_START_S)
    return wasm


def _synthesise_one(stage: _Stage, machine: _Machine) -> _Netlist:
    directory = machine.work / stage.name
    write_files(directory, {**stage.files, "synth.ys": stage.script})
    _run(machine.yosys, ["-q", "-s", "synth.ys"], directory, "yosys.log", machine, f"synthesis of {stage.name!r}")
    netlist = read_json(directory / _STAGE)
    around = between_registers(netlist, stage.name)
    write_json(directory / _NETLIST, around)
    kinds = [cell["type"] for cell in netlist["modules"][stage.name]["cells"].values()]
    (top,) = around["modules"].values()
    folds = sum(name.startswith(CAPTURE) for name in top["cells"])
    ff = folds + sum(name.startswith(LAUNCH) for name in top["cells"])
    return _Netlist(stage, kinds.count("LUT4") + 2 * kinds.count("CCU2C"), ff, folds, directory)


def _route(
    tasks: Sequence[tuple[_Stage, int]],
    netlists: Mapping[str, _Netlist],
    machine: _Machine,
    jobs: int,
    say: Callable[[str, int, int], None],
) -> list[StagePlacement]:
    # The biggest first, so that no core is idle at the end.
    order = sorted(range(len(tasks)), key=lambda index: -sum(netlists[tasks[index][0].name].cells))
    needs = [
        (f"stage {stage.name!r}", _BASE_BYTES + _BYTES_PER_CELL * sum(netlists[stage.name].cells)) for stage, _ in tasks
    ]
    jobs = jobs_in_memory(needs, min(jobs, len(tasks)), "place")
    _prepare(machine.nextpnr, "--version", machine)
    text = "placement and routing"
    say(text, 0, len(tasks))
    work = [functools.partial(_route_one, netlists[tasks[index][0].name], tasks[index][1], machine) for index in order]
    results = run_parallel(work, jobs=jobs, finished=lambda done: say(text, done, len(tasks)))
    return [result for _, result in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])]


def _route_one(netlist: _Netlist, seed: int, machine: _Machine) -> StagePlacement:
    stage, directory = netlist.stage, netlist.directory / f"seed{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    # A WebAssembly program sees the directory that it is started in, and below.
    arguments = [
        *machine.device.options, "--json", _NETLIST, "--report", f"seed{seed}/{_REPORT}", "--seed", seed,
        "--freq", _GOAL_MHZ, "--timing-allow-fail", "--lpf-allow-unconstrained", "-q",
    ]  # fmt: skip
    what = f"placement of {stage.name!r}, seed {seed}"
    _run(machine.nextpnr, list(map(str, arguments)), netlist.directory, f"seed{seed}/{_LOG}", machine, what)
    route = read_route(directory / _REPORT, seed, what)
    placed = StagePlacement(stage.name, netlist.lut4, netlist.ff, (route,))
    machine.store(stage, placed)
    return placed


def _run(tool: Tool, arguments: Sequence[str], directory: Path, log: str, machine: _Machine, what: str) -> None:
    # A killed YoWASP leaves its temporary directory behind, so let it be in the working directory.
    tool = replace(tool, environment={**tool.environment, "TMPDIR": str((directory / log).parent)})
    try:
        run_tool(tool, arguments, cwd=directory, log=directory / log, timeout_s=machine.timeout_s)
    except ToolFailedError as error:
        msg = f"{what}: {error}"
        raise ToolFailedError(msg) from error


def read_route(path: Path, seed: int, what: str) -> Route:
    """Return the clock frequency and the critical path between registers from a report of nextpnr.

    Raises
    ------
    ToolFailedError
        The report is missing, lacks them, or contradicts itself.
    """
    try:
        report = read_json(path)
        ((_, fmax),) = report["fmax"].items()
        (critical,) = (path for path in report["critical_paths"] if _between_clocks(path))
        steps = critical["path"]
        routing = sum(float(step["delay"]) for step in steps if step["type"] == "routing")
        logic = sum(float(step["delay"]) for step in steps if step["type"] != "routing")
        start, end = str(steps[0]["from"]["cell"]), str(steps[-1]["to"]["cell"])
        fmax_mhz = float(fmax["achieved"])
        period_ns = 1000 / fmax_mhz
    except (InputError, KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        msg = f"{what}: nextpnr ended without a clock frequency and its path in {path} ({error!r})"
        raise ToolFailedError(msg) from error
    if not abs(logic + routing - period_ns) < 0.002 * period_ns:
        msg = f"{what}: the path in {path} takes {logic + routing:.3f} ns, and its clock period is {period_ns:.3f} ns"
        raise ToolFailedError(msg)
    return Route(
        seed=seed,
        fmax_mhz=fmax_mhz,
        delay_ns=period_ns,
        logic_ns=logic,
        routing_ns=routing,
        start=start.removeprefix(LAUNCH),
        end=end.removeprefix(CAPTURE),
        of_stage=start.startswith(LAUNCH) and end.startswith(CAPTURE),
    )


def _between_clocks(path: Mapping[str, Any]) -> bool:
    """Say whether a path leads from register to register, not from or to a pin."""
    return all(str(path[end]).startswith("posedge") for end in ("from", "to"))
