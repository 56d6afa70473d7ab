"""Designs made of a few operations of the RTL compiler, without a network around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l1dl.fixed import Codes, FixedSpec
from l1dl.ports import Port, decode_rows, encode_rows
from l1dl.rtl.estimate import Estimate
from l1dl.rtl.passes import exact_passes
from l1dl.rtl.pipeline import schedule, split_stages
from l1dl.rtl.project import RtlDesign

WIDE = FixedSpec(True, 40, 20)
"""A type that holds everything that these designs compute."""


def alir_design(
    function: Callable[[list[Any]], Sequence[Any]],
    specs: Sequence[FixedSpec],
    *,
    outputs: Sequence[FixedSpec] | None = None,
    name: str = "net",
    stage_delay_ns: float = 1.0,
    language: str = "verilog",
) -> RtlDesign:
    """Return a design with one input port of one value for each type, and one output port for each result.

    Parameters
    ----------
    function
        From alkaid's variables, one for each input, to the results.
    outputs
        Types of the results; `WIDE` by default.
    """
    from alkaid.trace import HWConfig, trace
    from alkaid.trace.fixed_variable_array import FVArray
    from alkaid.trace.passes import add_surrogate, dead_code_elimin, fuse_ternary_adders

    signs = np.array([int(spec.signed) for spec in specs])
    integers = np.array([spec.integer for spec in specs]) - signs
    fractions = np.array([spec.fraction for spec in specs])
    x = FVArray.from_kif(signs, integers, fractions, hwconf=HWConfig(1, 8, -1), solver_options={})
    with exact_passes():
        program = trace(x, np.array(function(list(np.asarray(x))), dtype=object), keep_dead_inputs=True)
    program = add_surrogate(dead_code_elimin(fuse_ternary_adders(program), keep_dead_inputs=True), _skip_op8_cost=True)
    targets = outputs or [WIDE] * program.shape[1]
    return RtlDesign(
        top=name,
        stages=split_stages(program, schedule(program, stage_delay_ns).stage),
        inputs=tuple(Port(f"x{index}", (1,), spec) for index, spec in enumerate(specs)),
        outputs=tuple(Port(f"y{index}", (1,), spec) for index, spec in enumerate(targets)),
        clock_period_ns=5.0,
        estimate=Estimate(0.0, 0, "none"),
        stage_delay_ns=(),
        language=language,
    )


def interpret(design: RtlDesign, rows: Codes) -> Codes:
    """Return what the compiler's own interpreter makes of rows of input codes, stage by stage."""
    values = decode_rows(rows, design.inputs)
    for stage in design.stages:
        values = stage.predict(values, n_threads=1)
    return encode_rows(values, design.outputs)
