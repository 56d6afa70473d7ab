"""Test bench for cocotb 2: every output code and its latency, without pauses and with pauses, and a reset in between.

``python run.py cocotb`` runs it; what it expects stands in ``../ip.json`` and ``vectors/``.
"""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

HERE = Path(__file__).resolve().parent
IP = json.loads((HERE.parent / "ip.json").read_text())
LATENCY = IP["latency_cycles"]
IN_BITS = next(port["width"] for port in IP["ports"] if port["name"] == "in_data")


def read_words(name):
    """Return the words of a file of vectors."""
    return [int(line, 16) for line in (HERE / "vectors" / name).read_text().split()]


def value(signal):
    """Return what stands at a port; undefined bits raise ValueError."""
    return int(str(signal.value), 2)


async def start(dut):
    """Start the clock and reset the design."""
    period_ps = 2 * round(500 * IP["clock"]["period_ns"])
    cocotb.start_soon(Clock(dut.clk, period_ps, unit="ps").start())
    dut.in_valid.value, dut.in_data.value, dut.rst.value = 0, 0, 1
    for _ in range(LATENCY + 4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


async def check(dut, gaps):
    """Send all events, the first after ``gaps[0]`` empty cycles, and compare what comes out, and when."""
    inputs, outputs = read_words("inputs.hex"), read_words("outputs.hex")
    assert inputs, "there are no vectors"
    assert len(inputs) == len(outputs) == sum(IP["vectors"].values()), "the vectors are not complete"
    present = {}  # cycle -> event
    cycle = -1
    for event, gap in enumerate(gaps):
        cycle += gap + 1
        present[cycle] = event
    due = {entered + LATENCY: event for entered, event in present.items()}
    seen = 0
    for now in range(cycle + LATENCY + 8):
        await FallingEdge(dut.clk)
        event = present.get(now)
        dut.in_valid.value = int(event is not None)
        dut.in_data.value = random.getrandbits(IN_BITS) if event is None else inputs[event]
        await ReadOnly()
        assert value(dut.out_valid) == int(now in due), f"cycle {now}: out_valid is wrong"
        if now in due:
            found, expected = value(dut.out_data), outputs[due[now]]
            assert found == expected, f"event {due[now]}: found {found:x}, expected {expected:x}"
            seen += 1
    assert seen == len(outputs)


@cocotb.test()
async def without_pauses(dut):
    """An event in each cycle."""
    await start(dut)
    await check(dut, [0] * len(read_words("inputs.hex")))


@cocotb.test()
async def with_pauses(dut):
    """Up to three empty cycles before each event."""
    await start(dut)
    await check(dut, [random.randrange(4) for _ in read_words("inputs.hex")])


@cocotb.test()
async def a_reset_clears_the_pipeline(dut):
    """No event that is under way at a reset comes out."""
    await start(dut)
    for _ in range(LATENCY - 1):
        await FallingEdge(dut.clk)
        dut.in_valid.value = 1
    await FallingEdge(dut.clk)
    dut.in_valid.value, dut.rst.value = 0, 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(LATENCY + 8):
        await ReadOnly()
        assert value(dut.out_valid) == 0, "an event outlived the reset"
        await FallingEdge(dut.clk)
