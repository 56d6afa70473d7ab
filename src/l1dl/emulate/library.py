"""A network as two C++ files, which an experiment's software can build and load without l1dl."""

from __future__ import annotations

import re
from pathlib import Path

from l1dl.artifacts import write_text
from l1dl.emulate.cpp.generate import HEADERS, network_text, read_text
from l1dl.errors import InputError
from l1dl.graph import FixedGraph
from l1dl.ports import Ports, count_values

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,31}")

_C_HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool
stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
"""
"""Headers of ISO C: a model called so would hide one."""


def write_library(graph: FixedGraph, directory: Path, *, version: str = "1") -> tuple[Path, Path]:
    """Write a network as ``<name>.h`` and ``<name>.cpp`` with the interface of the CMS emulators of hls4ml models.

    The library computes the codes of `l1dl.emulate.engine.Emulator`, needs C++17 (GCC or Clang) and its standard
    library, and exports only ``create_model`` and ``destroy_model``; see ``docs/cpp-library.md``.

    Parameters
    ----------
    directory
        Where the files are written.
    version
        Version of the model: up to 32 letters, digits and underscores. It is part of the namespace.

    Returns
    -------
    Paths of the header and of the source.

    Raises
    ------
    InputError
        The version is no such text, or the model has the name of a header of C.
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    """
    if not _VERSION.fullmatch(version):
        msg = f"version {version!r} is not allowed; use up to 32 letters, digits or underscores, e.g. '1' or '2_1'"
        raise InputError(msg)
    if graph.name in _C_HEADERS.split():
        msg = f"a model called {graph.name!r} would hide the C header {graph.name}.h; choose another name"
        raise InputError(msg)
    header, source = directory / f"{graph.name}.h", directory / f"{graph.name}.cpp"
    texts = _header_text(graph, version), _source_text(graph, version)
    for path, text in zip((header, source), texts, strict=True):
        write_text(path, text)
    return header, source


def _namespace(graph: FixedGraph, version: str) -> str:
    return f"l1dl_{graph.name}_{version}"


def _title(graph: FixedGraph, version: str) -> str:
    return f"// {graph.name}, version {version}; written by l1dl from the graph with the digest\n// {graph.digest}\n"


def _header_text(graph: FixedGraph, version: str) -> str:
    namespace = _namespace(graph, version)
    return (
        f"{_title(graph, version)}//\n"
        f"// Inputs, one after the other:\n{_describe(graph.input_ports)}"
        f"// Outputs:\n{_describe(graph.output_ports)}\n"
        f"#ifndef {namespace}_h\n#define {namespace}_h\n\n#include <any>\n\n{read_text('interface.h')}\n"
        f"namespace {namespace} {{\n"
        f"constexpr int inputs = {count_values(graph.input_ports)};\n"
        f"constexpr int outputs = {count_values(graph.output_ports)};\n"
        f"}} // namespace {namespace}\n\n"
        'extern "C" hls4mlEmulator::Model *create_model();\n'
        'extern "C" void destroy_model(hls4mlEmulator::Model *model);\n\n#endif\n'
    )


def _describe(ports: Ports) -> str:
    return "".join(f"//   {port.name}: {port.size} values of shape {port.shape}, {port.spec}\n" for port in ports)


def _source_text(graph: FixedGraph, version: str) -> str:
    namespace = _namespace(graph, version)
    includes = "".join(f"#include <{header}>\n" for header in sorted({*HEADERS, "any", "stdexcept", "string"}))
    return (
        f'{_title(graph, version)}\n#include "{graph.name}.h"\n\n{includes}\n'
        f"namespace {namespace} {{\nnamespace {{\n\n{read_text('arithmetic.h')}\n"
        f'constexpr const char *NAME = "{graph.name}, version {version}";\n'
        f"{network_text(graph, 'Net')}\n{read_text('emulator.h')}\n"
        f"}} // namespace\n}} // namespace {namespace}\n\n"
        '#define L1DL_EXPORT __attribute__((visibility("default")))\n\n'
        'extern "C" L1DL_EXPORT hls4mlEmulator::Model *create_model() {\n'
        f"    return new {namespace}::Emulator;\n}}\n\n"
        'extern "C" L1DL_EXPORT void destroy_model(hls4mlEmulator::Model *model) { delete model; }\n'
    )
