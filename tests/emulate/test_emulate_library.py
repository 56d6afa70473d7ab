"""The two C++ files of a network: built, loaded side by side, and compared with the emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import KINDS
from image_graphs import random_image_graph
from support import absent, graph_of, need_tools, random_graph, random_rows, small_net

from l1dl.emulate.engine import Emulator
from l1dl.emulate.library import write_library
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Input
from l1dl.ports import count_values, split
from l1dl.tools import find_tool

STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
DOCUMENT = (Path(__file__).parents[2] / "docs/cpp-library.md").read_text(encoding="utf-8")

DRIVER = """
// Passes rows of codes and of real values through libraries, alternately; knows of them only the interface.
#include <any>
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

INTERFACE

using Model = hls4mlEmulator::Model;

template <class T> std::vector<T> read(const std::string &name, std::size_t count) {
    std::vector<T> values(count);
    std::ifstream file(name, std::ios::binary);
    if (!file.read(reinterpret_cast<char *>(values.data()), std::streamsize(count * sizeof(T))))
        std::abort();
    return values;
}

struct Loaded {
    std::string name;
    std::size_t inputs, outputs;
    Model *model;
    void (*destroy)(Model *);
    std::vector<std::int64_t> codes;
    std::vector<double> values;
    std::ofstream results;
};

int main(int count, char **arguments) {
    const std::size_t events = std::size_t(std::atoi(arguments[1]));
    std::vector<Loaded> models;
    for (int i = 2; i + 2 < count; i += 3) {
        const std::string name = arguments[i];
        const std::size_t inputs = std::size_t(std::atoi(arguments[i + 1]));
        const std::size_t outputs = std::size_t(std::atoi(arguments[i + 2]));
        void *library = dlopen(("./" + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            std::cerr << dlerror() << std::endl;
            return 1;
        }
        auto *create = reinterpret_cast<Model *(*)()>(dlsym(library, "create_model"));
        auto *destroy = reinterpret_cast<void (*)(Model *)>(dlsym(library, "destroy_model"));
        models.push_back({name, inputs, outputs, create(), destroy,
                          read<std::int64_t>(name + ".codes", events * inputs),
                          read<double>(name + ".values", events * inputs), std::ofstream(name + ".out")});
    }
    for (std::size_t event = 0; event < events; ++event) {
        for (Loaded &each : models)
            each.model->prepare_input(static_cast<const std::int64_t *>(each.codes.data() + event * each.inputs));
        for (Loaded &each : models)
            each.model->predict();
        for (Loaded &each : models) {
            std::vector<std::int64_t> codes(each.outputs);
            std::vector<double> values(each.outputs);
            each.model->read_result(codes.data());
            each.model->prepare_input(each.values.data() + event * each.inputs);
            each.model->predict();
            each.model->read_result(values.data());
            each.results.precision(17);
            for (std::int64_t code : codes)
                each.results << code << " ";
            for (double value : values)
                each.results << value << " ";
            each.results << "\\n";
        }
    }
    for (Loaded &each : models)
        each.destroy(each.model);
}
"""

REFUSALS = """
#include "tiny.h"
#include <cmath>
#include <cstdint>
#include <iostream>
#include <stdexcept>

template <class Call> void attempt(Call call) {
    try {
        call();
        std::cout << "nothing\\n";
    } catch (const std::invalid_argument &error) {
        std::cout << "invalid_argument " << error.what() << "\\n";
    } catch (const std::logic_error &error) {
        std::cout << "logic_error " << error.what() << "\\n";
    }
}

int main() {
    hls4mlEmulator::Model *model = create_model();
    double values[] = {0.5, -1.25, 3.0}, results[2];
    float singles[] = {0.5f, -1.25f, 3.0f};
    std::int64_t codes[] = {0, 0, 31}, far[] = {0, 0, 32};
    int wrong[3] = {};
    attempt([&] { model->predict(); });
    attempt([&] { model->prepare_input(wrong); });
    attempt([&] { model->prepare_input(0.5); });
    attempt([&] { model->prepare_input(std::any()); });
    attempt([&] { model->prepare_input(static_cast<double *>(nullptr)); });
    attempt([&] { model->prepare_input(far); });
    attempt([&] { model->prepare_input(codes); });
    attempt([&] { model->read_result(results); });
    attempt([&] { model->predict(); });
    attempt([&] { model->read_result(static_cast<const double *>(results)); });
    attempt([&] { model->read_result(static_cast<std::int64_t *>(nullptr)); });
    values[1] = std::nan("");
    attempt([&] { model->prepare_input(values); });
    attempt([&] { model->read_result(results); });
    attempt([&] { model->predict(); });
    attempt([&] { model->prepare_input(singles); });
    attempt([&] { model->predict(); model->read_result(results); });
    destroy_model(model);
}
"""


@pytest.fixture(autouse=True)
def _tools():
    need_tools("cxx")


def compile_cpp(work: Path, *arguments: str | Path, compiler: str | None = None) -> None:
    command = [compiler or find_tool("cxx").command[0], *STRICT, *arguments]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def interface() -> str:
    """Return the class that the document shows: all that a caller must know."""
    found = re.search(r"namespace hls4mlEmulator \{.*?\n\}\n", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[0]


def build(
    graph: FixedGraph,
    work: Path,
    name: str,
    version: str = "1",
    *,
    options: tuple[str, ...] = (),
    compiler: str | None = None,
) -> None:
    """Write and build ``<name>.so`` in a directory of its own."""
    _, source = write_library(graph, work / f"{name}_files", version=version)
    compile_cpp(work, "-O1", *options, "-fPIC", "-shared", source, "-o", f"{name}.so", compiler=compiler)


def check_together(
    graphs: dict[str, FixedGraph], work: Path, *, options: tuple[str, ...] = (), compiler: str | None = None
) -> None:
    """Load the libraries into one process, and compare codes and real results with the emulator."""
    rng, events = np.random.default_rng(1), 40
    arguments, wanted = [str(events)], {}
    for name, graph in graphs.items():
        emulator, rows = Emulator(graph), random_rows(rng, graph.input_ports, events)
        values = rng.normal(size=rows.shape) * 2.0 ** rng.integers(-5, 8, rows.shape)
        rows.tofile(work / f"{name}.codes")
        values.tofile(work / f"{name}.values")
        second = emulator.decode(emulator.run(emulator.encode(split(values, graph.input_ports))))
        wanted[name] = np.concatenate([emulator.run(rows), second], axis=1)
        arguments += [name, str(rows.shape[1]), str(count_values(graph.output_ports))]
    (work / "driver.cpp").write_text(DRIVER.replace("INTERFACE", interface()))
    compile_cpp(work, *options, "driver.cpp", "-o", "driver", "-ldl", compiler=compiler)
    done = subprocess.run([work / "driver", *arguments], cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, results in wanted.items():
        np.testing.assert_array_equal(np.loadtxt(work / f"{name}.out", ndmin=2), results, err_msg=name)


def test_models_and_versions_live_in_one_process(tmp_path):
    graphs = {
        "first": small_net("same", seed=3),
        "second": small_net("same", seed=4),
        "other": random_graph(6, layers=6, name="other"),
    }
    for version, (name, graph) in enumerate(graphs.items()):
        build(graph, tmp_path, name, str(version))
    check_together(graphs, tmp_path)


def test_every_kind_as_a_library(tmp_path):
    graphs = {f"net_{kind}": graph_of(kind, 5, name=f"net_{kind}") for kind in KINDS if kind != "input"}
    for name, graph in list(graphs.items())[::2]:
        build(graph, tmp_path, name)
    check_together(dict(list(graphs.items())[::2]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 120, 12))
def test_random_graphs_as_libraries(start, tmp_path):
    graphs = {
        f"net{seed}": random_graph(seed, layers=2 + seed % 7, name=f"net{seed}") for seed in range(start, start + 12)
    }
    for name, graph in graphs.items():
        build(graph, tmp_path, name)
    check_together(graphs, tmp_path)


def test_only_the_interface_is_visible(tmp_path):
    if shutil.which("nm") is None:
        absent("nm not installed")
    build(small_net(), tmp_path, "tiny")
    listed = subprocess.run(
        ["nm", "-DC", "--defined-only", tmp_path / "tiny.so"], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split(maxsplit=2)[1:] for line in listed.splitlines()]
    assert {name for kind, name in names if kind not in "WVw"} == {"create_model", "destroy_model"}
    assert not [name for _, name in names if "l1dl" in name]


def test_what_is_refused(tmp_path):
    write_library(small_net(), tmp_path, version="2")
    (tmp_path / "main.cpp").write_text(REFUSALS)
    compile_cpp(tmp_path, "main.cpp", "tiny.cpp", "-o", "main")
    lines = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.splitlines()
    types = "with all input values side by side, not the type"
    wanted = [
        r"logic_error tiny, version 2: predict\(\) needs prepare_input\(\) before it",
        rf"invalid_argument tiny, version 2: prepare_input takes a pointer to double .*, {types} Pi",
        rf"invalid_argument .*{types} d",
        rf"invalid_argument .*{types} v",
        "invalid_argument tiny, version 2: prepare_input was given a null pointer",
        "invalid_argument tiny, version 2: an input code is outside its type",
        "nothing",
        r"logic_error tiny, version 2: read_result\(\) needs predict\(\) before it",
        "nothing",
        r"invalid_argument tiny, version 2: read_result takes a double\* .* not the type PKd",
        "invalid_argument tiny, version 2: read_result was given a null pointer",
        "invalid_argument tiny, version 2: an input value is NaN or infinite",
        r"logic_error .*read_result\(\) needs predict\(\) before it",
        r"logic_error .*predict\(\) needs prepare_input\(\) before it",
        "nothing",
        "nothing",
    ]
    assert len(lines) == len(wanted)
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


def test_the_example_of_the_document(tmp_path):
    graph = small_net()
    write_library(graph, tmp_path, version="1")
    blocks = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "main.cpp").write_text(next(text for kind, text in blocks if "int main" in text))
    commands = [line for kind, text in blocks if not kind for line in text.splitlines()]
    assert [command.split()[0] for command in commands] == ["g++", "g++", "./main"]
    for command in commands[:2]:
        compile_cpp(tmp_path, *command.replace("jet_mlp", "tiny").split()[1:])
    out = subprocess.run(commands[2].split(), cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    emulator = Emulator(graph)
    codes = emulator.run(emulator.encode([[0.5, -1.25, 3.0]]))
    wanted = np.stack([emulator.decode(codes)[0], codes[0]], axis=1)
    np.testing.assert_array_equal(np.array([line.split() for line in out.splitlines()], dtype=float), wanted)
    assert codes.any()


def test_hls4ml_header_before_ours(tmp_path):
    write_library(small_net(), tmp_path)
    text = f'#define HLS4ML_EMULATOR_H_\n#include <any>\n{interface()}#include "tiny.h"\n#include "tiny.h"\n'
    (tmp_path / "main.cpp").write_text(f"{text}int main() {{ destroy_model(create_model()); }}\n")
    compile_cpp(tmp_path, "main.cpp", "tiny.cpp", "-o", "main")
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_compilers_do_not_warn_and_sanitizers_find_nothing(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    options = "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"
    (tmp_path / "empty.cpp").write_text("int main() { return 0; }\n")
    subprocess.run([compiler, *options, "empty.cpp", "-o", "empty"], cwd=tmp_path, check=False)
    if not (tmp_path / "empty").exists() or subprocess.run([tmp_path / "empty"], check=False).returncode:
        absent(f"nothing runs with {compiler} -fsanitize=address,undefined here")
    graphs = {"tiny": random_graph(8, layers=8, name="tiny"), "image": replace(random_image_graph(5), name="image")}
    for name, graph in graphs.items():
        build(graph, tmp_path, name, options=options, compiler=compiler)
    check_together(graphs, tmp_path, options=options, compiler=compiler)


@pytest.mark.parametrize("version", ["", "1.2", "a-b", "é", "x" * 33, "_1", "1\n"])
def test_bad_versions(version, tmp_path):
    with pytest.raises(InputError, match=r"version .* is not allowed; use up to 32 letters"):
        write_library(small_net(), tmp_path, version=version)
    assert not list(tmp_path.iterdir())


def test_names_that_hide_a_header(tmp_path):
    with pytest.raises(InputError, match=r"a model called 'math' would hide the C header math\.h; choose another name"):
        write_library(small_net("math"), tmp_path)


def test_any_name_is_a_name(tmp_path):
    spec = FixedSpec(True, 4, 4)
    graph = FixedGraph(
        "Model", (Input("inputs", (), (2,), spec), Input("L", (), (1,), spec)), ("L", "inputs"), "test 1"
    )
    build(graph, tmp_path, "Model", "outputs")
    check_together({"Model": graph}, tmp_path)
