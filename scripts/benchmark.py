"""Measure the speed of l1dl, section by section: ``python scripts/benchmark.py --section all --out benchmark.json``.

Sections: ``generation`` (ms a jet, share of Pythia), ``training`` (jets/s), ``verdict`` (seconds from a
trained model to the verdict of the RTL), ``simulation`` (events/s of each executable meaning, as ratios to
hls4ml's own ``predict``, and the share of NumPy's matrix product that the fastest reaches), ``gpu`` (events/s of XLA on
a GPU), ``cnn`` (CPU time of tracing
and of the simulator's build for convolutions, one image per clock, for each operation, as ratios to an MLP),
``stream`` (the same network as a streaming design: CPU time of its build, images/s of its simulation, as
ratios to one image per clock), ``estimators`` (LUTs, flip-flops and delays of random networks: what synthesis finds
in units of what the RTL compiler estimates; it writes ``runs/estimators/calibration.json``, which is copied to
``src/l1dl/rtl``; half an hour or more, and it goes on where it was interrupted). Machines are noisy: compare the
ratios, which come from one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "models" / "jet_mlp"


def generation(jets: int = 5000) -> dict[str, Any]:
    """Generate jets of all classes in this process; numba is compiled before the clock starts."""
    from l1dl.data import pythia, shards
    from l1dl.data.settings import CLASSES, JetSettings, ShardKey

    spent = {"pythia_s": 0.0}

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent["pythia_s"] += time.perf_counter() - start

        return call

    class TimedSource(pythia.EventSource):
        """An event source that notes the time spent inside Pythia, its start included."""

        def __init__(self, *arguments: Any) -> None:
            timed(super().__init__)(*arguments)
            generator = self._pythia
            next_batch = timed(generator.nextBatch)
            attributes = {"nextBatch": staticmethod(next_batch), "particleData": generator.particleData}
            self._pythia = type("Timed", (), attributes)

    shards.make_shard(JetSettings(jets=5, seed=99), ShardKey(0, 0, 20))
    shards.EventSource = TimedSource  # type: ignore[attr-defined]
    settings = JetSettings(jets=jets, seed=7)
    start = time.perf_counter()
    for label in range(len(CLASSES)):
        shards.make_shard(settings, ShardKey(label, 0, jets // len(CLASSES)))
    total = time.perf_counter() - start
    return {
        "jets": jets,
        "ms_per_jet": 1e3 * total / jets,
        "pythia_ms_per_jet": 1e3 * spent["pythia_s"] / jets,
        "share_not_pythia": 1 - spent["pythia_s"] / total,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def training() -> dict[str, Any]:
    """Train both models of the flagship card."""
    from l1dl import load_card, load_dataset, train_model

    card = load_card(CARD)
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        result = train_model(card, load_dataset(CARD / card.data.file), Path(directory))
        seconds = time.perf_counter() - start
        facts = json.loads(result.facts_path.read_text())
    models = {
        kind: {"jets_per_s": found["jets_per_s"], "epochs": found["epochs"], **found["seeds"][0]}
        for kind, found in facts["models"].items()
    }
    return {"backend": facts["backend"], "devices": facts["devices"], "total_s": seconds, **models}


def verdict(events: int = 20_000) -> dict[str, Any]:
    """Take the trained flagship model to the verdict of its RTL, with nothing cached."""
    import numpy as np

    from l1dl import Emulator, build_rtl, convert_model, cosimulate
    from l1dl.card import CosimCard

    model, x = _trained(events)
    steps: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        graph = _timed(steps, "convert_s", lambda: convert_model(model, work / "hls").graph)
        design = _timed(steps, "compile_s", lambda: build_rtl(graph))
        codes = Emulator(graph).encode(x)
        report, _ = _timed(
            steps, "cosim_s",
            lambda: cosimulate(graph, design, codes, work, settings=CosimCard(random_vectors=100_000), self_test=False),
        )  # fmt: skip
    assert report.agreement.mismatches == 0, "the RTL and the emulator disagree"
    return {
        "events": int(np.sum(list(report.vectors.values()))),
        **steps,
        "of_which_build_s": report.build_s,
        "total_s": sum(steps.values()),
        "rtl_events_per_s": report.events_per_s,
    }


def simulation(events: int = 50_000) -> dict[str, Any]:
    """Run the same events through each executable meaning of the flagship model, and compare what they yield."""
    import numpy as np

    from l1dl import Emulator, build_rtl, convert_model
    from l1dl.cosim.protocol import STREAM_EVENTS, streams
    from l1dl.cosim.verilate import Simulation, run_at_once
    from l1dl.emulate.compare import exact_rows
    from l1dl.emulate.compiled import CompiledEmulator
    from l1dl.emulate.csim import Csim
    from l1dl.emulate.xla import XlaEmulator
    from l1dl.nodes import Dense
    from l1dl.ports import decode_rows
    from l1dl.rtl.lower import lower

    model, x = _trained(events)
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        done = convert_model(model, work / "hls")
        graph = done.graph
        emulator, design, program = Emulator(graph), build_rtl(graph), lower(graph)
        hls4ml, csim, onnx = _hls4ml(model, work / "alone"), Csim(done.project, work), _onnx(graph, work)
        rtl = Simulation(design.sources(), design.top, design.inputs, design.outputs, work)
        compiled, xla = CompiledEmulator(graph, work), XlaEmulator(graph, batch=16384)
        codes = emulator.encode(x)
        values, controls = decode_rows(codes, graph.input_ports), streams(events, 64)
        many = np.resize(x, (20 * events, x.shape[1]))
        many_codes = np.resize(codes, many.shape)
        expected = emulator.run(codes)
        found = {
            "emulator_xla": xla.run(codes),
            "emulator_compiled": compiled.run(codes),
            "alir_interpreter": exact_rows(program.predict(values), graph.output_ports),
            "rtl_verilator": run_at_once(rtl, codes, controls).codes,
            "csim": exact_rows(csim.run(x), graph.output_ports),
            "onnxruntime": exact_rows(onnx(x), graph.output_ports),
        }
        wrong = [name for name, each in found.items() if not np.array_equal(each, expected)]
        assert not wrong, f"these disagree with the emulator: {wrong}"
        rates = {
            "hls4ml_predict": _rate(lambda: hls4ml(x), events),
            "csim": _rate(lambda: csim.run(x), events),
            "alir_interpreter": _rate(lambda: program.predict(values, n_threads=cores), events),
            "emulator_numpy": _rate(lambda: emulator.run(many_codes), len(many)),
            "emulator_xla": _rate(lambda: xla.run(many_codes), len(many)),
            "emulator_compiled": _rate(lambda: compiled.run(many_codes), len(many)),
            "emulator_compiled_real_inputs": _rate(lambda: compiled.predict(many), len(many)),
            "cpp_library_one_core": _library_rate(graph, x, work / "library"),
            "onnxruntime_real_inputs": _rate(lambda: onnx(x), events),
            "rtl_verilator": _rate(lambda: run_at_once(rtl, codes, controls), events),
            "rtl_verilator_one_core": _rate(lambda: rtl.run(codes[:STREAM_EVENTS], controls[0]), STREAM_EVENTS),
        }
        size = 2048
        matrix = np.ones((size, size), dtype=np.float32)
        peak = 2 * size**3 * _rate(lambda: matrix @ matrix, 1)
        operations = 2 * sum(node.weight.size for node in graph.nodes if isinstance(node, Dense))
    return {
        "events": events,
        "events_per_s": rates,
        "ratio_to_hls4ml_predict": {name: rate / rates["hls4ml_predict"] for name, rate in rates.items()},
        "matrix_product_gflops": peak / 1e9,
        "emulator_compiled_gflops": rates["emulator_compiled"] * operations / 1e9,
    }


def _hls4ml(model: Any, directory: Path) -> Callable[[Any], Any]:
    """Return hls4ml's own ``predict`` of a model, with the types that hls4ml gives it."""
    import contextlib
    import io

    import numpy as np
    from hls4ml.converters import convert_from_keras_model

    with contextlib.redirect_stdout(io.StringIO()):
        converted = convert_from_keras_model(model, output_dir=str(directory), backend="Vitis", io_type="io_parallel")
        converted.compile()
    return lambda x: converted.predict(np.ascontiguousarray(x, dtype=np.float32))


def _onnx(graph: Any, work: Path, batch: int = 4096) -> Callable[[Any], Any]:
    """Return what runs the ONNX export of a network of one input and one output, batch by batch."""
    import numpy as np
    import onnxruntime

    from l1dl import export_onnx

    export_onnx(graph, work / "net.onnx")
    session = onnxruntime.InferenceSession(work / "net.onnx", providers=["CPUExecutionProvider"])
    (port,) = graph.input_ports

    def run(x: Any) -> Any:
        parts = [session.run(None, {port.name: x[i : i + batch]})[0] for i in range(0, len(x), batch)]
        return np.concatenate(parts)

    return run


_LIBRARY_DRIVER = """
#include "{name}.h"
#include <chrono>
#include <cstdio>
#include <vector>

int main(int, char **arguments) {{
    std::vector<double> x({values}), y({outputs});
    std::FILE *file = std::fopen(arguments[1], "rb");
    if (std::fread(x.data(), sizeof(double), x.size(), file) != x.size())
        return 1;
    hls4mlEmulator::Model *model = create_model();
    double best = 1e9;
    for (int repeat = 0; repeat < 4; ++repeat) {{
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t event = 0; event < {events}; ++event) {{
            model->prepare_input(x.data() + event * {inputs});
            model->predict();
            model->read_result(y.data());
        }}
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = seconds < best ? seconds : best;
    }}
    destroy_model(model);
    std::printf("%.9g", best);
}}
"""


def _library_rate(graph: Any, x: Any, directory: Path) -> float:
    """Return the rate of the C++ library, event after event on one core, as an experiment runs it."""
    import subprocess

    import numpy as np

    from l1dl.emulate.library import write_library
    from l1dl.tools import find_tool

    directory.mkdir()
    write_library(graph, directory)
    np.ascontiguousarray(x, dtype=np.float64).tofile(directory / "events")
    (outputs,) = (port.size for port in graph.output_ports)
    fields = {"name": graph.name, "values": x.size, "events": len(x), "inputs": x.shape[1], "outputs": outputs}
    (directory / "driver.cpp").write_text(_LIBRARY_DRIVER.format(**fields))
    compiler = find_tool("cxx").command[0]
    sources = ["driver.cpp", f"{graph.name}.cpp"]
    subprocess.run(
        [compiler, "-std=c++17", "-O3", "-march=native", *sources, "-o", "driver"], cwd=directory, check=True
    )
    run = subprocess.run(["./driver", "events"], cwd=directory, check=True, capture_output=True, text=True)
    return len(x) / float(run.stdout)


def gpu(events: int = 1 << 24) -> dict[str, Any]:
    """Run the flagship model as XLA compiles it for a GPU; without one, say so."""
    import jax
    import numpy as np

    from l1dl import Emulator, convert_model
    from l1dl.emulate.xla import XlaEmulator
    from l1dl.errors import InputError

    model, x = _trained(50_000)
    with tempfile.TemporaryDirectory() as name:
        graph = convert_model(model, Path(name) / "hls").graph
    emulator = Emulator(graph)
    codes = emulator.encode(x)
    expected, many = emulator.run(codes), np.resize(codes, (events, codes.shape[1]))
    found: dict[str, Any] = {"devices": [str(device) for device in jax.devices()], "events": events}
    try:
        for exponent in (16, 18, 20, 22):
            xla = XlaEmulator(graph, batch=1 << exponent, platform="gpu")
            assert np.array_equal(xla.run(codes), expected), "the GPU and the emulator disagree"
            placed = xla.place(many[: xla.batch])
            found[f"batch_{xla.batch}"] = {
                "events_per_s_from_memory": _rate(lambda xla=xla: xla.run(many), events),
                "events_per_s_on_the_device": _rate(lambda xla=xla, placed=placed: xla.run_placed(placed), xla.batch),
            }
    except InputError as error:
        found["gpu"] = str(error)
    return found


def cnn(events: int = 2000) -> dict[str, Any]:
    """Trace and verilate a CNN with random weights, fully parallel, and an MLP to compare with."""
    import numpy as np

    from l1dl import Emulator, build_rtl, convert_model
    from l1dl.cosim.protocol import stream
    from l1dl.cosim.verilate import Simulation

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, model in (("mlp", _random_mlp()), ("cnn", _random_cnn())):
            work, steps = Path(name) / kind, {}
            work.mkdir()
            graph = convert_model(model, work / "hls").graph
            design = _cpu_timed(steps, "trace_cpu_s", lambda graph=graph: build_rtl(graph))
            make = (design.sources(), design.top, design.inputs, design.outputs, work)
            simulation = _cpu_timed(steps, "verilator_cpu_s", lambda make=make: Simulation(*make))
            rng = np.random.default_rng(1)
            shape = (events, sum(port.size for port in graph.input_ports))
            top = graph.input_ports[0].spec.maximum_code
            codes = rng.integers(-top, top, shape, endpoint=True)
            valid = stream(events, 64)
            start = time.perf_counter()
            same = np.array_equal(simulation.run(codes, valid).codes, Emulator(graph).run(codes))
            assert same, "the RTL and the emulator disagree"
            operations = sum(len(stage.ops) for stage in design.stages)
            found[kind] = {
                "operations": operations,
                "estimated_luts": design.estimate.lut,
                **steps,
                "trace_us_per_operation": 1e6 * steps["trace_cpu_s"] / operations,
                "verilator_us_per_operation": 1e6 * steps["verilator_cpu_s"] / operations,
                "simulation_s": time.perf_counter() - start,
            }
    ratios = {
        f"{step}_cnn_to_mlp": found["cnn"][f"{step}_us_per_operation"] / found["mlp"][f"{step}_us_per_operation"]
        for step in ("trace", "verilator")
    }
    return {"events": events, **found, **ratios}


def stream(images: int = 2000) -> dict[str, Any]:
    """Build and simulate the network of `cnn` with one image per clock, and pixel by pixel."""
    import numpy as np

    from l1dl import Emulator, build_rtl, convert_model
    from l1dl.cosim import protocol
    from l1dl.cosim.stream import StreamSimulation
    from l1dl.cosim.verilate import Simulation
    from l1dl.rtl.stream.design import build_stream

    parallel: dict[str, float] = {}
    streaming: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        graph = convert_model(_random_cnn(), work / "hls").graph
        whole = _cpu_timed(parallel, "trace_cpu_s", lambda: build_rtl(graph))
        pixels = _cpu_timed(streaming, "trace_cpu_s", lambda: build_stream(graph))
        (port,) = graph.input_ports
        codes = np.random.default_rng(1).integers(0, port.spec.maximum_code, (images, port.size), endpoint=True)
        expected = Emulator(graph).run(codes)
        make = (whole.sources(), whole.top, whole.inputs, whole.outputs, work)
        at_once = _cpu_timed(parallel, "verilator_cpu_s", lambda: Simulation(*make))
        by_pixel = _cpu_timed(streaming, "verilator_cpu_s", lambda: StreamSimulation(pixels, work))
        control = protocol.stream(images, 64)
        parallel["images_per_s"] = _rate(lambda: at_once.run(codes, control), images)
        streaming["images_per_s"] = _rate(lambda: by_pixel.run(codes), images)
        passage = by_pixel.run(codes)
        assert np.array_equal(at_once.run(codes, control).codes, expected), "the RTL and the emulator disagree"
        assert np.array_equal(passage.codes, expected), "the streaming RTL and the emulator disagree"
    return {
        "images": images,
        "parallel": parallel,
        "streaming": {
            **streaming,
            "cycles_per_s": passage.cycles * streaming["images_per_s"] / images,
            "largest_queue": max(queue.depth for queue in pixels.queues),
        },
        **{f"{key}_streaming_to_parallel": streaming[key] / parallel[key] for key in parallel},
    }


def estimators() -> dict[str, Any]:
    """Hold the RTL compiler's estimates for random networks against synthesis; called again, it goes on."""
    from estimators.calibrate import calibrate, to_text

    directory = ROOT / "runs" / "estimators"
    found = calibrate(directory)
    (directory / "calibration.json").write_text(to_text(found), encoding="utf-8")
    return found


def _random_mlp() -> Any:
    from l1dl.models.backend import import_keras, import_qkeras

    keras, qkeras = import_keras(), import_qkeras()
    x = inputs = keras.Input((16,))
    x = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1))(x)
    for units in (64, 32, 32):
        x = _activated(_quantised(qkeras.QDense, 6, units)(x))
    return _randomised(keras.Model(inputs, _quantised(qkeras.QDense, 6, 5)(x), name="mlp"))


def _random_cnn() -> Any:
    """Return a network for images of digits: two convolutions and a dense layer, with 4-bit weights."""
    from l1dl.models.backend import import_keras, import_qkeras

    keras, qkeras = import_keras(), import_qkeras()
    x = inputs = keras.Input((8, 8, 1))
    x = qkeras.QActivation(qkeras.quantized_bits(6, 1, alpha=1))(x)
    x = _activated(_quantised(qkeras.QConv2D, 4, 4, 3)(x))
    x = keras.layers.MaxPooling2D(2)(x)
    x = _activated(_quantised(qkeras.QConv2D, 4, 8, 3)(x))
    x = keras.layers.Flatten()(x)
    return _randomised(keras.Model(inputs, _quantised(qkeras.QDense, 4, 10)(x), name="cnn"))


def _quantised(layer: Callable[..., Any], bits: int, *arguments: int) -> Any:
    from l1dl.models.backend import import_qkeras

    quantisers = [import_qkeras().quantized_bits(bits, 0, alpha=1) for _ in range(2)]
    return layer(*arguments, kernel_quantizer=quantisers[0], bias_quantizer=quantisers[1])


def _activated(x: Any) -> Any:
    from l1dl.models.backend import import_qkeras

    qkeras = import_qkeras()
    return qkeras.QActivation(qkeras.quantized_relu(6, 2))(x)


def _randomised(model: Any) -> Any:
    import numpy as np

    rng = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([rng.normal(0, 0.35, value.shape) for value in layer.get_weights()])
    return model


def _cpu_timed(steps: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """Time a step in CPU seconds of this process and of the tools that it starts."""
    start = sum(os.times()[:4])
    result = function()
    steps[name] = sum(os.times()[:4]) - start
    return result


def _trained(events: int) -> tuple[Any, Any]:
    """Return the trained flagship model, training it where it was not, and so many real events."""
    import numpy as np

    from l1dl import load_card, load_dataset, load_model, run_card

    run_card(CARD, out=ROOT / "runs" / "jet_mlp", hls=ROOT / "hls_projects" / "jet_mlp", until="train")
    dataset = load_dataset(CARD / load_card(CARD).data.file)
    repeated = np.resize(dataset.x, (events, dataset.x.shape[1]))
    return load_model(ROOT / "runs" / "jet_mlp" / "train" / "quantised.keras"), repeated


def _timed(steps: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = function()
    steps[name] = time.perf_counter() - start
    return result


def _rate(function: Callable[[], Any], events: int, repeats: int = 3) -> float:
    """Return the best rate of several calls, after one that warms up, in events/s."""
    function()
    best = min(_seconds(function) for _ in range(repeats))
    return events / best


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "generation": generation,
    "training": training,
    "verdict": verdict,
    "simulation": simulation,
    "gpu": gpu,
    "cnn": cnn,
    "stream": stream,
    "estimators": estimators,
}


def main() -> None:
    """Run the sections that were asked for, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=[*SECTIONS, "all"], default="all", help="what to measure")
    parser.add_argument("--out", type=Path, help="JSON file; standard output by default")
    options = parser.parse_args()
    chosen = list(SECTIONS) if options.section == "all" else [options.section]
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "python": platform.python_version(),
    }
    for name in chosen:
        result[name] = SECTIONS[name]()
    text = json.dumps(result, indent=2)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
