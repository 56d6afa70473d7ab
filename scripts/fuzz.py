"""Draw random quantised networks and demand that all their meanings agree in every output code.

    python scripts/fuzz.py --minutes 10 --seed 1
    python scripts/fuzz.py --case fuzz/case-17.json      # a failure again

Each network has 2 to 12 layers, branches, and often several inputs or outputs. Compared are the quantised
Keras model, hls4ml's C++, the emulator in NumPy, as C++ and in onnxruntime, the RTL program (in alkaid's
interpreter) and, for every tenth network, the emulator in XLA and the Verilog in Verilator. A network that
differs or crashes is cut down to the fewest layers that still fail, and kept as a small file. A network that
conversion refuses by name is counted with its reason, and is no failure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.network import Network

EVENTS = 200
VERILOG_EVERY = 10


@dataclass
class Outcome:
    """What happened to one network.

    `state` is ``agrees``, ``refused``, ``constant`` (it shows nothing) or ``FAILS``.
    """

    seed: int
    layers: int
    state: str
    reason: str = ""
    kinds: list[str] = field(default_factory=list)
    quantisers: list[str] = field(default_factory=list)
    verilog: bool = False


def examine(seed: int, layers: int, *, verilog: bool) -> Outcome:
    """Build one network and compare its meanings."""
    import numpy as np

    from l1dl.card import CosimCard
    from l1dl.convert.convert import convert_model
    from l1dl.cosim.cosim import cosimulate
    from l1dl.cosim.stimuli import all_vectors
    from l1dl.emulate.compare import compare, exact_rows, require
    from l1dl.emulate.csim import Csim
    from l1dl.emulate.engine import Emulator
    from l1dl.emulate.keras_codes import keras_outputs
    from l1dl.errors import UnsupportedError
    from l1dl.models.backend import import_keras
    from l1dl.ports import count_values, decode_rows, join, split
    from l1dl.rtl.lower import lower
    from l1dl.rtl.project import build_rtl

    keras = import_keras()
    keras.backend.clear_session()
    network = Network(seed, layers)
    outcome = Outcome(seed, layers, "agrees", kinds=network.kinds, quantisers=network.quantisers)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        try:
            conversion = convert_model(network.model, work / "hls")
        except UnsupportedError as error:
            outcome.state, outcome.reason = "refused", str(error)
            return outcome
        graph, emulator = conversion.graph, Emulator(conversion.graph)
        ports = graph.input_ports
        nothing = np.zeros((0, count_values(ports)), dtype=np.int64)
        rows = np.concatenate(list(all_vectors(nothing, ports, events=EVENTS, seed=seed).values()))
        most = [network.vocabularies.get(port.name, port.spec.maximum_code + 1) - 1 for port in ports]
        rows = join([np.minimum(part, last) for part, last in zip(split(rows, ports), most, strict=True)])
        expected = emulator.run(rows)
        if len(np.unique(expected, axis=0)) == 1:
            outcome.state = "constant"
            return outcome
        values = decode_rows(rows, ports)
        x = [part.astype(np.float32) for part in split(values, ports)]
        from_keras = keras_outputs(network.model, x if len(x) > 1 else x[0], graph)
        require(compare("keras_emulator", from_keras, expected))
        outputs = Csim(conversion.project, work, optimise=0).run(values)
        require(compare("csim_emulator", exact_rows(outputs, graph.output_ports), expected))
        program = lower(graph).predict(values, n_threads=1)
        require(compare("alir_emulator", exact_rows(program, graph.output_ports), expected))
        compare_engines(graph, work, rows, expected, xla=verilog)
        if verilog:
            report, _ = cosimulate(
                graph, build_rtl(graph), rows, work, settings=CosimCard(random_vectors=EVENTS), self_test=False
            )
            require(report.agreement)
            outcome.verilog = True
    return outcome


def compare_engines(graph: Any, work: Path, rows: Any, expected: Any, *, xla: bool) -> None:
    """Demand that the fast engines give the codes of the emulator."""
    from l1dl.emulate.compare import compare, require
    from l1dl.emulate.compiled import CompiledEmulator
    from l1dl.emulate.onnx.session import OnnxEmulator
    from l1dl.emulate.xla import XlaEmulator
    from l1dl.errors import UnsupportedError

    engines: list[Any] = [CompiledEmulator(graph, work, optimise=0)]
    with contextlib.suppress(UnsupportedError):  # ports of more than 53 bits have no ONNX model
        engines.append(OnnxEmulator(graph))
    if xla:
        engines.append(XlaEmulator(graph, batch=len(rows)))
    for engine in engines:
        require(compare(f"{type(engine).__name__}_emulator", engine.run(rows), expected))


def try_network(seed: int, layers: int, *, verilog: bool) -> Outcome:
    """Examine a network; whatever goes wrong, except a refusal by name, is its failure."""
    try:
        return examine(seed, layers, verilog=verilog)
    except Exception as error:  # noqa: BLE001  a fuzzer keeps whatever happens
        return Outcome(seed, layers, "FAILS", f"{type(error).__name__}: {error}"[:2000])


def layers_of(seed: int) -> int:
    """Return the number of layers of the network of a seed, 2 to 12."""
    return 2 + seed % 11


def shrink(outcome: Outcome, *, verilog: bool) -> Outcome:
    """Return the failure of the same seed with the fewest layers."""
    for layers in range(1, outcome.layers):
        smaller = try_network(outcome.seed, layers, verilog=verilog)
        if smaller.state == "FAILS":
            return smaller
    return outcome


def _start(cache: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Half of the time goes into compiling for JAX, and networks have much in common.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  libraries warn about each network


def _work(seed: int) -> Outcome:
    verilog = seed % VERILOG_EVERY == 0
    outcome = try_network(seed, layers_of(seed), verilog=verilog)
    return shrink(outcome, verilog=verilog) if outcome.state == "FAILS" else outcome


@dataclass
class Summary:
    """What happened to all networks.

    Attributes
    ----------
    states
        State of a network → how many there were.
    verilog
        Networks that agreed in Verilog, too.
    layers, quantisers
        Kind → how often it occurred in the networks that agreed.
    refusals
        Reason → how many networks were refused for it.
    next_seed
        Where to go on.
    """

    next_seed: int
    verilog: int = 0
    states: Counter[str] = field(default_factory=Counter)
    layers: Counter[str] = field(default_factory=Counter)
    quantisers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one network."""
        self.next_seed = outcome.seed + 1
        self.states[outcome.state] += 1
        if outcome.state == "agrees":
            self.layers.update(outcome.kinds)
            self.quantisers.update(outcome.quantisers)
            self.verilog += outcome.verilog
        elif outcome.state == "refused":
            self.refusals[outcome.reason.split(";")[0][:150]] += 1

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, the most frequent kinds first."""
        counts = {name: dict(value.most_common()) for name, value in vars(self).items() if isinstance(value, Counter)}
        return {"next_seed": self.next_seed, "verilog": self.verilog, **counts}

    def __str__(self) -> str:
        """Return the lines to print."""
        lines = [
            f"networks: {dict(self.states)}; {self.verilog} of them also in Verilog; next seed {self.next_seed}",
            f"layers that agreed: {_listed(self.layers)}",
            f"quantisers that agreed: {_listed(self.quantisers)}",
            *(f"refused {count}: {reason}" for reason, count in self.refusals.most_common()),
        ]
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.most_common())


def fuzz(minutes: float, seed: int, out: Path, jobs: int) -> Summary:
    """Examine networks until the time is over, in the order of their seeds."""
    summary = Summary(seed)
    try:
        for outcome in _outcomes(time.monotonic() + 60 * minutes, seed, jobs):
            summary.add(outcome)
            if outcome.state == "FAILS":
                path = out / f"case-{outcome.seed}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
                print(f"FAILS: {path}: {outcome.reason[:300]}", flush=True)
            if summary.states.total() % 20 == 0:
                print(f"{dict(summary.states)}, last seed {outcome.seed}", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    return summary


def _outcomes(end: float, seed: int, jobs: int) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        while time.monotonic() < end:
            pool, pending = _pool(jobs, cache), collections.deque[tuple[int, Future[Outcome]]]()
            try:
                while time.monotonic() < end:
                    while len(pending) < 2 * jobs:
                        pending.append((seed, pool.submit(_work, seed)))
                        seed += 1
                    yield pending[0][1].result()
                    pending.popleft()
            except BrokenProcessPool:
                yield from (_alone(each, cache) for each, _ in pending)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _pool(jobs: int, cache: str) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (cache,))


def _alone(seed: int, cache: str) -> Outcome:
    """Examine a network in a process of its own, after one of several networks has ended its process."""
    with _pool(1, cache) as pool:
        try:
            return pool.submit(_work, seed).result()
        except BrokenProcessPool:
            return Outcome(seed, layers_of(seed), "FAILS", "the process died")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="time to go on for")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first network; the next ones follow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at the same time")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="directory of failing cases")
    parser.add_argument("--summary", type=Path, help="JSON file to write the counts of networks, layers and types to")
    parser.add_argument("--case", type=Path, help="examine this failing case again, and nothing else")
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case.read_text())
        outcome = try_network(case["seed"], case["layers"], verilog=case["seed"] % VERILOG_EVERY == 0)
        print(json.dumps(asdict(outcome), indent=2))
        sys.exit(outcome.state == "FAILS")
    summary = fuzz(arguments.minutes, arguments.seed, arguments.out, arguments.jobs)
    print(summary)
    if arguments.summary:
        arguments.summary.write_text(json.dumps(summary.as_json(), indent=2) + "\n")
    sys.exit(summary.states["FAILS"] > 0)


if __name__ == "__main__":
    main()
