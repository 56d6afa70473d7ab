"""Test bench for cocotb 2: every beat, the handshake and the latency, without pauses and with pauses on both sides.

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
IN_BEATS, OUT_BEATS, LATENCY = IP["input_beats"], IP["output_beats"], IP["latency_cycles"]
IN_BITS = next(port["width"] for port in IP["ports"] if port["name"] == "s_axis_tdata")
EVENTS = sum(IP["vectors"].values())
PATIENCE = 20_000 + 100 * LATENCY  # cycles without a beat after which the design has stopped


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
    dut.s_axis_tvalid.value, dut.s_axis_tdata.value, dut.s_axis_tlast.value = 0, 0, 0
    dut.m_axis_tready.value, dut.rst.value = 0, 1
    for _ in range(8):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


async def check(dut, events, stalls):
    """Send frames, each side standing still with the probability `stalls`; return the cycles of first and last beat."""
    inputs, outputs = read_words("inputs.hex")[: events * IN_BEATS], read_words("outputs.hex")[: events * OUT_BEATS]
    assert events > 0, "there are no vectors"
    assert (len(inputs), len(outputs)) == (events * IN_BEATS, events * OUT_BEATS), "the vectors are not complete"
    sent = given = now = idle = after = first = last = 0
    offered, held = False, None
    while after < LATENCY + 8:  # time for beats too many
        await FallingEdge(dut.clk)
        if not offered:
            offered = sent < len(inputs) and random.random() >= stalls
            dut.s_axis_tdata.value = inputs[sent] if offered else random.getrandbits(IN_BITS)
            dut.s_axis_tlast.value = int(sent % IN_BEATS == IN_BEATS - 1) if offered else random.getrandbits(1)
            dut.s_axis_tvalid.value = int(offered)
        # With pauses it waits for tvalid, as a sink may.
        ready = random.random() >= stalls and (not stalls or value(dut.m_axis_tvalid) == 1)
        dut.m_axis_tready.value = int(ready)
        await ReadOnly()
        found = (value(dut.m_axis_tdata), value(dut.m_axis_tlast)) if value(dut.m_axis_tvalid) else None
        assert held is None or found == held, f"output beat {given} was withdrawn or changed before it was taken"
        held = None if ready else found
        idle += 1
        if ready and found is not None:
            assert given < len(outputs), "a beat too many comes out"
            expected = outputs[given], int(given % OUT_BEATS == OUT_BEATS - 1)
            assert found == expected, f"output beat {given}: found {found}, expected {expected} (data, tlast)"
            given, last, idle = given + 1, now, 0
        if offered and value(dut.s_axis_tready):
            first = first if sent else now
            sent, offered, idle = sent + 1, False, 0
        assert value(dut.frame_error) == 0, "frame_error, although tlast was right"
        assert idle < PATIENCE or given == len(outputs), f"the design stops, {given} of {len(outputs)} beats are out"
        now += 1
        after += given == len(outputs)
    return first, last


@cocotb.test()
async def one_frame_alone(dut):
    """The latency: from the first beat that enters to the last one that leaves."""
    await start(dut)
    first, last = await check(dut, 1, 0)
    assert last - first == LATENCY, f"latency is {last - first} cycles, expected {LATENCY}"


@cocotb.test()
async def without_pauses(dut):
    """All frames, one behind the other."""
    await start(dut)
    await check(dut, EVENTS, 0)


@cocotb.test()
async def with_pauses(dut):
    """All frames, while both sides stand still half of the time."""
    await start(dut)
    await check(dut, EVENTS, 0.5)
