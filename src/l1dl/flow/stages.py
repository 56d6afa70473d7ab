"""The stages: each reads what the ones before it wrote, and writes its own files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import digest_json, write_files, write_json, write_npz
from l1dl.cosim.cosim import cosimulate, explain_mismatch
from l1dl.cosim.result import CosimReport
from l1dl.cosim.stream import cosimulate_stream
from l1dl.emulate.compare import NO_CODE, Agreement, compare, exact_rows
from l1dl.emulate.engine import Emulator
from l1dl.emulate.profile import LayerProfile, profile_layers
from l1dl.errors import InputError
from l1dl.fixed import Values
from l1dl.flow import keys
from l1dl.flow.architectures import read_architectures
from l1dl.flow.bench import Bench, changed_by_hand, versions
from l1dl.flow.build import read_builds
from l1dl.flow.clocks import read_clocks
from l1dl.flow.image_study import study_images
from l1dl.flow.job import CardJob, Inputs
from l1dl.flow.place import read_placement
from l1dl.flow.results import read_result, write_result
from l1dl.flow.seu import read_upsets
from l1dl.graph import save_graph
from l1dl.models.backend import predict_arrays
from l1dl.ports import as_rows, decode_rows, split
from l1dl.report.inputs import FloatLoss, LayerAgreement, Physics, ReportInputs, SoftmaxAgreement
from l1dl.report.loss import compare_softmax, measure_loss
from l1dl.report.write import write_report
from l1dl.rtl.build import design_files
from l1dl.rtl.delays import speed_grade
from l1dl.rtl.project import RtlDesign
from l1dl.rtl.stream.plan import check_pixels
from l1dl.synth.design import SynthDesign
from l1dl.synth.resources import Resources
from l1dl.synth.yosys import synthesise

LAYER_VALUES = 1 << 26
"""Most values of all layers together that are compared with Keras layer by layer."""


@dataclass(frozen=True)
class Emulation:
    """What the stage ``emulate`` found."""

    agreements: tuple[Agreement, ...]
    layers: tuple[LayerAgreement, ...]
    profiles: tuple[LayerProfile, ...]


def data_stage(bench: Bench) -> list[Path]:
    """Read and check the data set."""
    assert isinstance(bench.job, CardJob)
    dataset, settings = bench.job.dataset, bench.job.settings.rtl
    if settings.architecture == "stream":
        check_pixels(settings.pixels_per_clock, dataset.x.shape[1:])
    path = bench.paths.run / "data" / "data.json"
    write_json(path, {
        "source": dataset.source, "digest": dataset.digest, "features": dataset.features, "classes": dataset.classes,
        "jets": len(dataset.y), "by_class": np.bincount(dataset.y).tolist(),
        "by_split": np.bincount(dataset.split).tolist(),
    })  # fmt: skip
    return [path]


def train_stage(bench: Bench) -> list[Path]:
    """Train the float reference and the quantised model."""
    from l1dl.train.train import train_model

    job = bench.job
    assert isinstance(job, CardJob)
    assert job.card is not None

    def progress(name: str, done: int, total: int, text: str) -> None:
        bench.report(f"{name}: {text}", done, total)

    directory = bench.paths.run / "train"
    result = train_model(job.card, job.dataset, directory, seeds=job.seeds, progress=progress)
    return [result.model_path("float"), result.model_path("quantised"), result.facts_path, result.scores_path]


def convert_stage(bench: Bench) -> list[Path]:
    """Convert the quantised model with hls4ml."""
    from l1dl.convert.convert import convert_model

    job = bench.job
    bench.report("converting with hls4ml", 0, 0)
    inputs = job.inputs()
    samples = inputs[0] if len(inputs) == 1 else inputs
    done = convert_model(job.model(), bench.paths.hls, settings=job.settings.hls, name=job.name, samples=samples)
    save_graph(done.graph, bench.paths.graph)
    # Only what was written: a vendor flow that runs in the project may add its own files.
    project = [path for path in sorted(bench.paths.hls.iterdir()) if path.name != "tb_data"]
    model = bench.paths.graph.with_name("model.keras")
    return [
        bench.paths.graph, bench.paths.graph.with_suffix(".npz"), *project, *([model] if job.save_model(model) else []),
    ]  # fmt: skip


def emulate_stage(bench: Bench) -> list[Path]:
    """Compare Keras, the compiled C++ of hls4ml and the emulator, network by network and layer by layer."""
    from l1dl.convert.convert import HlsProject
    from l1dl.convert.softmax import before_softmax, graph_before_softmax
    from l1dl.emulate.csim import Csim
    from l1dl.emulate.keras_codes import keras_outputs, within_vocabulary

    job, emulator, graph = bench.job, bench.emulator, bench.graph
    bench.report("compiling the C++ of hls4ml", 0, 0)
    csim = Csim(HlsProject(bench.paths.hls, graph.name, graph.input_ports, graph.output_ports), bench.paths.cache)
    # The test events enter as real numbers, so that every meaning quantises them itself.
    inputs, rows, ports = job.inputs(), bench.vectors, graph.input_ports
    on_grid = split(decode_rows(rows[len(inputs[0]) :], ports), ports)
    values = tuple(
        np.concatenate([x, part.reshape(-1, *x.shape[1:]).astype(x.dtype)])
        for x, part in zip(inputs, on_grid, strict=True)
    )
    real = csim.run(as_rows(values, ports), lambda done, total: bench.report("C++ simulation", done, total))
    from_csim = exact_rows(real, graph.output_ports)
    bench.report("Keras and emulator", 0, 0)
    logits = graph_before_softmax(graph)
    known = within_vocabulary(job.model(), rows, graph)
    from_keras = keras_outputs(before_softmax(job.model()), _arguments(tuple(x[known] for x in values)), logits)
    with_keras = (
        compare("keras_csim", from_keras, from_csim[known])
        if logits is graph
        else compare("keras_emulator", from_keras, Emulator(logits).run(rows[known]))
    )
    agreements = (with_keras, compare("csim_emulator", from_csim, emulator.run(rows)))
    profiles = tuple(profile_layers(emulator, inputs))
    write_result(bench.paths.emulation, Emulation(agreements, _compare_layers(bench), profiles))
    return [bench.paths.emulation]


def _compare_layers(bench: Bench) -> tuple[LayerAgreement, ...]:
    """Compare every layer with Keras on the test events, or on as many of them as the memory holds."""
    from l1dl.emulate.keras_codes import keras_layers

    graph, inputs = bench.graph, bench.job.inputs()
    events = min(len(inputs[0]), max(1, LAYER_VALUES // sum(node.size for node in graph.nodes)))
    few = tuple(x[:events] for x in inputs)
    of_keras = keras_layers(bench.job.model(), _arguments(few), graph)
    wrong = dict.fromkeys(of_keras, 0)
    start = 0
    for block in bench.emulator.blocks(bench.test_rows[:events]):
        trace = bench.emulator.trace(block)
        for name, codes in of_keras.items():
            part = codes[start : start + len(block)]
            wrong[name] += int(np.count_nonzero((part != trace[name]) | (part == NO_CODE)))
        start += len(block)
    return tuple(
        LayerAgreement(name, graph[name].kind, str(graph[name].result), events, count) for name, count in wrong.items()
    )


def _arguments(inputs: Inputs) -> Any:
    """Return the inputs as a Keras model takes them: a single one alone."""
    return inputs[0] if len(inputs) == 1 else list(inputs)


def rtl_stage(bench: Bench) -> list[Path]:
    """Compile the graph into Verilog."""
    bench.report("compiling to Verilog", 0, 0)
    files = design_files(bench.design, bench.job.features, bench.job.classes)
    write_files(bench.paths.rtl, files)
    return [bench.paths.rtl / name for name in sorted({Path(name).parts[0] for name in files})]


def cosim_stage(bench: Bench) -> list[Path]:
    """Simulate the written Verilog cycle by cycle against the emulator."""
    design, paths, settings = bench.design, bench.paths, bench.job.settings.cosim
    sources = _verilog(bench)
    for old in ("mismatch.json", "mismatch.vcd"):
        (paths.cosim.parent / old).unlink(missing_ok=True)

    def say(text: str) -> None:
        bench.report(text, 0, 0)

    if isinstance(design, RtlDesign):
        result, outputs = cosimulate(
            bench.graph, design, bench.test_rows, paths.cache, settings=settings, sources=sources,
            vhdl_sources=_sources(bench, "vhdl/*.vhd", list(design.vhdl_sources())), progress=say,
        )  # fmt: skip
    else:
        result, outputs = cosimulate_stream(
            bench.graph, design, bench.test_rows, paths.cache, settings=settings, sources=sources, progress=say
        )
    if result.agreement.mismatches:
        bench.report("looking for the first difference", 0, 0)
        write_json(paths.cosim.parent / "mismatch.json", {"where": _where(bench, result.agreement, sources)})
    write_npz(paths.cosim_outputs, {"codes": outputs, "inputs": bench.test_rows})
    write_result(paths.cosim, result)
    return [paths.cosim, paths.cosim_outputs]


def _verilog(bench: Bench) -> dict[str, str]:
    """Return file name → text of the Verilog as it stands in the run directory."""
    return _sources(bench, "src/*.v", sorted(bench.design.sources()))


def _sources(bench: Bench, pattern: str, names: Sequence[str]) -> dict[str, str]:
    """Return file name → text of the named files of the RTL project, and of the others that match its pattern.

    Raises
    ------
    InputError
        A file is missing or no text.
    """
    directory = (bench.paths.rtl / pattern).parent
    present = sorted(path.name for path in bench.paths.rtl.glob(pattern))
    missing = sorted(set(names) - set(present))
    if missing:
        msg = f"{directory} lacks {', '.join(missing)}; write it again with the stage rtl"
        raise InputError(msg)
    try:
        return {name: (directory / name).read_text() for name in dict.fromkeys((*names, *present))}
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{directory} cannot be read ({error}); write it again with the stage rtl"
        raise InputError(msg) from None


def _where(bench: Bench, agreement: Agreement, sources: Mapping[str, str]) -> str:
    """Say where the simulated Verilog goes wrong first; names the files that were changed by hand."""
    design, ours = bench.design, bench.design.sources()
    changed = {name: text for name, text in sources.items() if text != ours.get(name)}
    remark = f"Changed by hand: {', '.join(changed)}. " if changed else ""
    if not isinstance(design, RtlDesign) or {f"{design.top}.v", f"{design.top}_pipeline.v"} & set(changed):
        # The ports that show the registers are in these two, so that there is no looking inside.
        return remark.strip()
    probed = {**design.sources(probes=True), **changed}
    return remark + explain_mismatch(bench.graph, design, agreement, bench.vectors, bench.paths.cosim.parent, probed)


def synth_stage(bench: Bench) -> list[Path]:
    """Synthesise the stages with Yosys."""
    design, paths = bench.design, bench.paths
    files = _verilog(bench)
    synth = SynthDesign(design.top, design.stage_modules, design.sequential_modules, files, design.estimate)
    resources = synthesise(
        synth,
        work=paths.run / "synth" / "work",
        cache=paths.cache / "synth",
        speed_grade=speed_grade(bench.job.settings.hls.part),
        progress=lambda done, total: bench.report("synthesis by stage", done, total),
    )
    shutil.rmtree(paths.run / "synth" / "work", ignore_errors=True)
    write_result(paths.resources, resources)
    return [paths.resources]


def report_stage(bench: Bench) -> list[Path]:
    """Write report.json and report.html."""
    bench.report("drawing", 0, 0)
    page = write_report(report_inputs(bench), bench.paths.run)
    return [page, page.with_suffix(".json")]


def report_inputs(bench: Bench) -> ReportInputs:
    """Collect the results of all stages."""
    job, paths = bench.job, bench.paths
    emulation = read_result(paths.emulation, Emulation)
    with np.load(paths.cosim_outputs, allow_pickle=False) as file:
        outputs = file["codes"]
    values = decode_rows(outputs, bench.graph.output_ports)
    logits, truth, physics = job.logits(values), job.truth(), None
    if truth.labels is not None:
        physics = Physics(job.classes, truth.labels, {**truth.scores, "rtl": logits})
    training = job.training()
    models = training.pop("models", {})
    records = bench.directory.stages()
    return ReportInputs(
        graph=bench.graph,
        agreements=emulation.agreements,
        layers=emulation.layers,
        profiles=emulation.profiles,
        cosim=read_result(paths.cosim, CosimReport),
        clock_period_ns=job.settings.rtl.clock_period_ns,
        resources=read_result(paths.resources, Resources),
        budget=job.settings.budget,
        physics=physics,
        float_loss=_float_loss(bench, values),
        softmax=_softmax(bench, values),
        architectures=read_architectures(paths.run, bench.graph),
        builds=read_builds(paths.run),
        clocks=read_clocks(paths.run, bench.graph, job.settings.rtl, job.settings.hls.part),
        images=study_images(bench, truth, logits),
        upsets=read_upsets(paths, bench.graph),
        placement=read_placement(paths, bench.graph),
        history={kind: facts["history"] for kind, facts in models.items()},
        training={
            **training,
            **{
                kind: {key: value for key, value in facts.items() if key != "history"} for kind, facts in models.items()
            },
        },
        timings_s={name: record.seconds for name, record in records.items() if name != "report"},
        versions=versions(),
        digests={
            "graph": bench.graph.digest,
            **{name: record.key for name, record in records.items() if name != "report"},
        },
        commands=(bench.command,) if bench.command else (),
        notes=(*job.notes(), *_changes(bench)),
    )


def _float_loss(bench: Bench, values: Values) -> tuple[FloatLoss, ...]:
    """Compare the firmware with the model before types were fitted to it, on the test events."""
    reference = bench.job.reference()
    if reference is None:
        return ()
    ports = bench.graph.output_ports
    parts = split(values, ports)
    return tuple(
        measure_loss(port.name, real.reshape(len(real), -1), part.reshape(len(part), -1))
        for port, real, part in zip(ports, reference, parts, strict=True)
    )


def _softmax(bench: Bench, values: Values) -> tuple[SoftmaxAgreement, ...]:
    """Compare each final softmax that was kept with that of Keras, on the test events."""
    from l1dl.convert.softmax import softmax_axes

    model, ports = bench.job.model(), bench.graph.output_ports
    axes = softmax_axes(model)
    if not any(axes):
        return ()
    found = []
    for port, axis, real, part in zip(
        ports, axes, predict_arrays(model, bench.job.inputs()), split(values, ports), strict=True
    ):
        if axis is not None:
            pair = (np.moveaxis(each, axis, -1) for each in (real, part))
            found.append(compare_softmax(port.name, *(each.reshape(-1, each.shape[-1]) for each in pair)))
    return tuple(found)


def _changes(bench: Bench) -> tuple[str, ...]:
    """Say which generated files the results of this report do not hold for."""
    what = {"convert": "The HLS project or the graph", "rtl": "The Verilog"}
    return tuple(
        f"{what[name]} was changed by hand after it was generated; the results are those of the changed files."
        for name in EDITABLE
        if changed_by_hand(bench, name)
    )


@dataclass(frozen=True)
class Stage:
    """One stage: what it does and what its result depends on."""

    name: str
    run: Callable[[Bench], list[Path]]
    key: Callable[[Bench], Any]

    def digest(self, bench: Bench) -> str:
        """Return the digest of everything that the result depends on."""
        return digest_json(self.key(bench))


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("data", data_stage, keys.data_key),
        Stage("train", train_stage, keys.train_key),
        Stage("convert", convert_stage, keys.convert_key),
        Stage("emulate", emulate_stage, keys.emulate_key),
        Stage("rtl", rtl_stage, keys.rtl_key),
        Stage("cosim", cosim_stage, keys.cosim_key),
        Stage("synth", synth_stage, keys.synth_key),
        Stage("report", report_stage, keys.report_key),
    )
}
"""All stages, in their order."""

EDITABLE = ("convert", "rtl")
"""Stages whose output a user may change by hand, and check with the single stages behind them."""

TRAINING_STAGES = ("data", "train")
"""Stages that only a model trained from a card has."""
