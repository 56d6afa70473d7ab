"""The generated C++ against the NumPy emulator, code by code; small networks share a library: compiling takes long."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from graphs import KINDS
from image_graphs import random_image_graph
from support import absent, dense_graph, graph_of, need_tools, random_graph, random_rows, small_net

from l1dl.emulate import compiled
from l1dl.emulate.compiled import CompiledEmulator, batch_source, compile_emulators
from l1dl.emulate.cpp.generate import network_text
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, ToolFailedError, UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Clip, Function, Input, LeakyRelu, Merge, Node, Operation, Table
from l1dl.ports import count_values, split
from l1dl.tools import find_tool, run_tool

MODES = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture(autouse=True)
def _tools():
    need_tools("cxx")


def with_all_outputs(graph: FixedGraph) -> FixedGraph:
    return dataclasses.replace(graph, outputs=tuple(node.name for node in graph.nodes))


def stimuli(graph: FixedGraph, events: int) -> np.ndarray:
    """Return random rows, and corners: all lowest, all highest, all zero, a random end for each value."""
    rng, ports = np.random.default_rng(1), graph.input_ports
    low, high = (
        np.concatenate([np.full(port.size, code, dtype=np.int64) for port, code in zip(ports, codes, strict=True)])
        for codes in ([port.spec.minimum_code for port in ports], [port.spec.maximum_code for port in ports])
    )
    ends = np.where(rng.random((20, len(low))) < 0.5, low, high)
    return np.concatenate([low[None], high[None], 0 * low[None], ends, random_rows(rng, ports, events)])


def check_all(graphs: list[FixedGraph], work: Path, *, events: int = 60, lanes: int = 16) -> None:
    for graph, emulator in zip(graphs, compile_emulators(graphs, work, lanes=lanes), strict=True):
        rows = stimuli(graph, events)
        np.testing.assert_array_equal(emulator.run(rows), Emulator(graph).run(rows), err_msg=str(graph.nodes))


@pytest.mark.parametrize("lanes", [1, 16])
def test_every_kind(lanes, tmp_path):
    graphs = [with_all_outputs(graph_of(kind, seed)) for kind in KINDS for seed in range(lanes, lanes + 4)]
    check_all(graphs, tmp_path, lanes=lanes)


def test_random_graphs(tmp_path):
    graphs = [with_all_outputs(random_graph(seed, layers=1 + seed % 8)) for seed in range(20)]
    check_all([*graphs, *(with_all_outputs(random_image_graph(seed)) for seed in range(4))], tmp_path, lanes=8)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_many_random_graphs(start, tmp_path):
    graphs = [random_graph(seed, layers=2 + seed % 8) for seed in range(start, start + 80)]
    graphs += [random_image_graph(seed % 120) for seed in range(start, start + 20)]  # not every seed gives one
    check_all([with_all_outputs(graph) for graph in graphs], tmp_path, lanes=(1, 2, 4, 8, 16, 32)[start // 100 % 6])


# --- conversions


def activations(source: FixedSpec, results: list[FixedSpec], name: str = "net") -> FixedGraph:
    x = Input("x", (), (1,), source)
    nodes = [Activation(f"n{number}", ("x",), (1,), spec, Function.LINEAR) for number, spec in enumerate(results)]
    return FixedGraph(name, (x, *nodes), tuple(node.name for node in nodes), "test 1")


def test_every_rounding_with_every_overflow(tmp_path):
    results = [
        FixedSpec(signed, width, 5 - finer, *modes)
        for modes in MODES
        for signed, width, finer in ((True, 6, 0), (False, 5, 0), (True, 14, -3), (False, 1, 4))
    ]
    graph = activations(FixedSpec(True, 12, 7), results)
    rows = np.arange(-2048, 2048)[:, None]
    found = compile_emulators([graph], tmp_path)[0].run(rows)
    np.testing.assert_array_equal(found, Emulator(graph).run(rows))
    assert len(np.unique(found, axis=1).T) > len(MODES)


def test_any_number_of_dropped_bits(tmp_path):
    wide, narrow = FixedSpec(True, 62, 31), FixedSpec(True, 30, 15)
    graphs = [
        activations(source, [
            FixedSpec(True, 8, 8 - source.fraction + drop, rounding, Overflow.SAT)
            for rounding in Rounding for drop in drops
        ])
        for source, drops in ((wide, (1, 30, 31, 32, 33, 60, 61, 62, 63, 64, 80)), (narrow, (29, 30, 31, 32, 40)))
    ]  # fmt: skip
    for graph, emulator in zip(graphs, compile_emulators(graphs, tmp_path), strict=True):
        source = graph.input_ports[0].spec
        powers = [1 << bit for bit in range(source.width - 1)]
        rows = [0, *(sign * power + step for power in powers for sign in (-1, 1) for step in (-1, 0, 1))]
        rows = np.clip(rows, source.minimum_code, source.maximum_code)[:, None]
        np.testing.assert_array_equal(emulator.run(rows), Emulator(graph).run(rows))


def test_types_at_the_ends_of_32_and_64_bits(tmp_path):
    results = [
        FixedSpec(signed, width, width, Rounding.TRN, overflow)
        for overflow in Overflow for signed in (True, False) for width in (30, 31, 32, 33, 61, 62)
    ]  # fmt: skip
    sources = [FixedSpec(signed, width, width) for signed in (True, False) for width in (30, 31, 32, 33, 62)]
    graphs = [with_all_outputs(activations(source, results)) for source in sources]
    check_all(graphs, tmp_path)


CODE, WIDE = FixedSpec(True, 4, 4), FixedSpec(True, 62, 62)


def test_branches_that_are_never_taken(tmp_path):
    def net(*nodes: Node) -> FixedGraph:
        x = Input("x", (), (2,), CODE)
        zero = Affine("zero", ("x",), (2,), CODE, np.array(0), CODE, np.array(0), CODE)
        return FixedGraph("net", (x, zero, *nodes), (nodes[-1].name,), "test 1")

    def codes(*values: int) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    fine, coarse = FixedSpec(True, 45, -8), FixedSpec(True, 62, 70)
    positive = Activation("positive", ("x",), (2,), FixedSpec(False, 3, 3), Function.RELU)
    negative = Clip("negative", ("x",), (2,), CODE, -8.0, -1.0)
    index = FixedSpec(True, 3, 4, Rounding.RND, Overflow.SAT)
    table = Table("y", ("positive",), (2,), FixedSpec(True, 62, 5), index, np.arange(-4, 4), CODE)
    graphs = [
        net(positive, LeakyRelu("y", ("positive",), (2,), CODE, codes(2**40, -(2**40)), fine)),
        net(positive, LeakyRelu("y", ("positive",), (2,), CODE, codes(2**60, -(2**60)), coarse)),
        net(negative, LeakyRelu("y", ("negative",), (2,), CODE, codes(1, -(2**30)), fine)),
        net(LeakyRelu("y", ("x",), (2,), CODE, codes(7), CODE)),
        net(Merge("y", ("x", "zero"), (2,), WIDE, Operation.SUBTRACT)),
        net(Activation("y", ("zero",), (2,), FixedSpec(True, 62, -100), Function.LINEAR)),
        net(Clip("y", ("zero",), (2,), CODE, 1.5, 2.5)),
        net(positive, table),
    ]
    check_all(graphs, tmp_path)


# --- sums

SUMS = {
    2**24: "float", 2**24 + 1: "double", 2**53: "double", 2**53 + 1: "std::int64_t", 2**60 + 3: "std::int64_t",
}  # fmt: skip
"""Largest sums, and the type that must hold them."""


def test_sums_at_the_ends_of_each_type(tmp_path):
    graphs = []
    for total, kind in SUMS.items():
        # One bit less in every column, or the sum itself; codes reach from -1 to 0.
        weight = [[total - 1, -total, total // 2], [1, 0, total - total // 2]]
        graphs.append(dense_graph(weight, source=FixedSpec(True, 1, 1), accumulator=WIDE, bias=[1, 2, 3]))
        assert f"const {kind} n1_weight" in network_text(graphs[-1], "Net")
        assert np.abs(Emulator(graphs[-1]).run(np.array([[-1, -1]]))).max() >= total - 3
    rng = np.random.default_rng(3)
    for bits in (23, 24, 52, 53, 61):
        weight = rng.integers(-(1 << bits - 9), 1 << bits - 9, (4, 9)).tolist()
        graphs.append(dense_graph(weight, source=FixedSpec(True, 8, 8), accumulator=WIDE))
    check_all(graphs, tmp_path)


def test_accumulators_wrap_and_truncate(tmp_path):
    rng = np.random.default_rng(4)
    graphs = []
    for rounding, finer in [(rounding, finer) for rounding in Rounding for finer in (-3, 0, 2)]:
        accumulator = FixedSpec(True, 9, 9 - finer, rounding)
        weight = rng.integers(-100, 100, (5, 7)).tolist()
        graphs.append(
            dense_graph(weight, source=FixedSpec(True, 6, 6), accumulator=accumulator, bias=list(range(7)),
                        result=FixedSpec(True, 6, 7, rounding, Overflow.SAT_SYM))
        )  # fmt: skip
    check_all(graphs, tmp_path, lanes=4)


# --- real values


def inputs(specs: list[FixedSpec], name: str = "net") -> FixedGraph:
    nodes = tuple(Input(f"x{number}", (), (1,), spec) for number, spec in enumerate(specs))
    return FixedGraph(name, nodes, tuple(node.name for node in nodes), "test 1")


def real_values() -> np.ndarray:
    rng = np.random.default_rng(5)
    quarters = np.arange(-80, 80) / 8
    edges = [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1.7e308, -1.7e308, 0.49999999999999994, -0.49999999999999994]
    powers = 2.0 ** np.arange(-70, 70, 3)
    random = rng.normal(size=400) * 2.0 ** rng.integers(-70, 70, 400)
    return np.concatenate([quarters, edges, powers, -powers, powers - 0.5, 0.5 - powers, random])


def test_real_inputs_are_quantised_alike(tmp_path):
    shapes = (True, 6, 4), (False, 5, 7), (True, 1, 0), (True, 30, 40), (False, 31, 5), (True, 62, 30), (False, 62, 62)
    specs = [FixedSpec(*shape, *modes) for modes in MODES for shape in shapes]
    extreme = [FixedSpec(True, 12, integer, *modes) for modes in MODES[::3] for integer in (-1060, -1000, 1000, 1100)]
    graph = inputs([*specs, *extreme])
    values = np.repeat(real_values()[:, None], count_values(graph.input_ports), axis=1)
    emulator, reference = compile_emulators([graph], tmp_path, optimise=0)[0], Emulator(graph)
    for rows in (values, values.clip(-3e38, 3e38).astype(np.float32)):
        codes = reference.encode(split(rows.astype(np.float64), graph.input_ports))
        np.testing.assert_array_equal(emulator.run_values(rows), codes)
        with np.errstate(over="ignore"):  # of types whose values are beyond the range of double
            np.testing.assert_array_equal(emulator.predict(rows), reference.decode(codes))


def test_the_interface_is_that_of_the_emulator(tmp_path):
    graph = random_graph(12, layers=6)
    emulator, reference = CompiledEmulator(graph, tmp_path, threads=2, optimise=1), Emulator(graph)
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=(50, *port.shape)) for port in graph.input_ports]
    codes = emulator.encode(arrays)
    np.testing.assert_array_equal(codes, reference.encode(arrays))
    np.testing.assert_array_equal(emulator.decode(emulator.run(codes)), reference.decode(reference.run(codes)))


# --- blocks, refusals, the compiler


def test_blocks_tails_and_threads(tmp_path, monkeypatch):
    graph = small_net()
    rows = random_rows(np.random.default_rng(0), graph.input_ports, 5000)
    whole = Emulator(graph).run(rows)
    assert len(np.unique(whole, axis=0)) > 100
    for lanes, threads in ((1, 1), (16, 3)):
        emulator = CompiledEmulator(graph, tmp_path, lanes=lanes, threads=threads)
        for events in (0, 1, 15, 16, 17, 1023, 1024, 1025, 5000):
            np.testing.assert_array_equal(emulator.run(rows[:events]), whole[:events])
    np.testing.assert_array_equal(emulator.run(rows[::-2].astype(np.int8)), whole[::-2])
    monkeypatch.setattr(compiled, "BATCH", 1100)
    np.testing.assert_array_equal(emulator.run(rows), whole)


def test_bad_inputs_are_refused(tmp_path):
    graph = small_net()
    emulator = CompiledEmulator(graph, tmp_path, optimise=0)
    good = np.zeros((3000, 3), dtype=np.int64)
    for bad in (np.zeros(3, dtype=np.int64), good[:, :2], good + 32, ~good.astype(np.uint64)):
        with pytest.raises(InputError) as wanted:
            Emulator(graph).run(bad)
        with pytest.raises(InputError) as found:
            emulator.run(bad)
        assert str(found.value) == str(wanted.value)
    values = np.zeros((3000, 3))
    values[[0, 1700, 2999], [0, 1, 2]] = np.nan, np.inf, -np.inf
    for given in (values, values.astype(np.float32)):
        with pytest.raises(InputError, match=r"^3 values are NaN or infinite and have no fixed-point code"):
            emulator.run_values(given)
    with pytest.raises(InputError, match=r"inputs of shape \(3000, 2\) do not fit the ports: \(events, 3\)"):
        emulator.predict(values[:, :2])
    with pytest.raises(InputError, match="3 lanes are not possible; allowed are 1, 2, 4, 8, 16, 32"):
        CompiledEmulator(graph, tmp_path, lanes=3)
    with pytest.raises(UnsupportedError, match="a sum of products needs 67 bits"):
        CompiledEmulator(dense_graph([[2**60]] * 8, source=CODE, accumulator=WIDE), tmp_path)


def test_a_library_is_used_again(tmp_path):
    libraries = []
    for seed in (3, 3, 4):
        CompiledEmulator(small_net(seed=seed), tmp_path, optimise=0)
        libraries.append({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")})
    assert libraries[0] == libraries[1]
    assert len(libraries[2]) == 2
    assert {path.suffix for path in tmp_path.iterdir()} == {".so", ".log"}


def fake_compiler(path: Path, refuses: str) -> None:
    real = find_tool("cxx").command[0]
    path.write_text(
        f'#!/bin/sh\ncase " $* " in *" {refuses}"*) echo "no {refuses}" >&2; exit 1;; esac\nexec {real} "$@"\n'
    )
    path.chmod(0o755)


def test_a_compiler_without_options_for_this_machine(tmp_path, monkeypatch):
    fake_compiler(tmp_path / "compiler", "-march=native")
    monkeypatch.setenv("CXX", str(tmp_path / "compiler"))
    graph = small_net()
    rows = stimuli(graph, 100)
    np.testing.assert_array_equal(CompiledEmulator(graph, tmp_path / "work").run(rows), Emulator(graph).run(rows))
    fake_compiler(tmp_path / "other", "-shared")
    monkeypatch.setenv("CXX", str(tmp_path / "other"))
    with pytest.raises(ToolFailedError, match="no -shared"):
        CompiledEmulator(graph, tmp_path / "work")


# --- what compilers and their checkers say


def varied_graphs() -> list[FixedGraph]:
    graphs = [graph_of(kind, seed) for kind in KINDS for seed in (70, 71)]
    wide = activations(FixedSpec(True, 62, 31), [FixedSpec(True, 50, 30, *modes) for modes in MODES])
    sums = [dense_graph([[total - 1], [1]], source=FixedSpec(True, 1, 1), accumulator=WIDE) for total in SUMS]
    return [with_all_outputs(graph) for graph in [*graphs, random_image_graph(5), wide, *sums]]


DRIVER = """
#include <cstdio>

template <class T> static void run(const char *in, const char *out, int kind, std::size_t events, int number) {
    static int (*const functions[])(const void *, int, void *, int, std::size_t, unsigned) = {FUNCTIONS};
    static const std::size_t sizes[][2] = {SIZES};
    std::vector<T> inputs(events * sizes[number][0]);
    std::vector<std::int64_t> outputs(events * sizes[number][1]);
    std::FILE *file = std::fopen(in, "rb");
    if (file == nullptr || std::fread(inputs.data(), sizeof(T), inputs.size(), file) != inputs.size())
        std::abort();
    std::fclose(file);
    if (functions[number](inputs.data(), kind, outputs.data(), 0, events, 2) != 0)
        std::abort();
    file = std::fopen(out, "wb");
    if (file == nullptr || std::fwrite(outputs.data(), 8, outputs.size(), file) != outputs.size())
        std::abort();
    std::fclose(file);
}

int main(int, char **arguments) {
    const std::size_t events = std::size_t(std::atoi(arguments[1]));
    for (int number = 0; number < COUNT; ++number) {
        const std::string name = std::to_string(number);
        run<std::int64_t>(("codes" + name).c_str(), ("from_codes" + name).c_str(), 0, events, number);
        run<double>(("values" + name).c_str(), ("from_values" + name).c_str(), 1, events, number);
    }
}
"""


def driver(graphs: list[FixedGraph]) -> str:
    """Return a program that passes rows in files through networks, as codes and as real values."""
    macros = {
        "COUNT": str(len(graphs)),
        "FUNCTIONS": ", ".join(f"l1dl_run_{number}" for number in range(len(graphs))),
        "SIZES": ", ".join(
            f"{{{count_values(graph.input_ports)}, {count_values(graph.output_ports)}}}" for graph in graphs
        ),
    }
    text = DRIVER
    for name, value in macros.items():
        text = text.replace(name, value)
    return "#include <cstdlib>\n#include <string>\n" + batch_source(graphs, 4) + text


def checks(work: Path) -> bool:
    """Say whether a program runs with the sanitizers here."""
    (work / "empty.cpp").write_text("int main() { return 0; }\n")
    arguments = ["-fsanitize=address,undefined", "empty.cpp", "-o", "empty"]
    try:
        run_tool(find_tool("cxx"), arguments, cwd=work, log=work / "empty.log", timeout_s=300)
    except ToolFailedError:
        return False
    return subprocess.run([work / "empty"], capture_output=True, check=False).returncode == 0


def test_sanitizers_find_nothing(tmp_path):
    if not checks(tmp_path):
        absent("nothing runs with -fsanitize=address,undefined here")
    graphs, values = varied_graphs(), real_values()
    (tmp_path / "driver.cpp").write_text(driver(graphs))
    options = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-pthread"]
    arguments = [*STRICT, "-O1", *options, "driver.cpp", "-o", "driver"]
    run_tool(find_tool("cxx"), arguments, cwd=tmp_path, log=tmp_path / "log", timeout_s=600)
    wanted = {}
    for number, graph in enumerate(graphs):
        emulator, rows = Emulator(graph), stimuli(graph, 1100)
        reals = np.resize(values, rows.shape)
        rows.tofile(tmp_path / f"codes{number}")
        reals.tofile(tmp_path / f"values{number}")
        wanted[f"from_codes{number}"] = emulator.run(rows)
        wanted[f"from_values{number}"] = emulator.run(emulator.encode(split(reals, graph.input_ports)))
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(
        [tmp_path / "driver", str(len(rows))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, codes in wanted.items():
        np.testing.assert_array_equal(np.fromfile(tmp_path / name, dtype=np.int64).reshape(codes.shape), codes)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_compilers_do_not_warn(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "driver.cpp").write_text(driver(varied_graphs()))
    done = subprocess.run(
        [compiler, *STRICT, "-O1", "-c", "driver.cpp"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
