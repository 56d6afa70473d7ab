"""What an IP core is called, which bits its ports have, and the words that its test vectors are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.ports import Ports, split

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._-][A-Za-z0-9]+)*")
_VERSION = re.compile(r"(\d{1,4})(?:[._](\d{1,4}))?")


@dataclass(frozen=True)
class CoreName:
    """The four parts of a name in Vivado's catalogue, of which the third is the top module.

    Attributes
    ----------
    vendor, library
        A letter, then letters and digits, with single dots, underscores or hyphens between them.
    version
        Two numbers with a dot between them.

    Raises
    ------
    InputError
        A part is no such word.
    """

    vendor: str = "user.org"
    library: str = "user"
    version: str = "1.0"

    def __post_init__(self) -> None:
        """Check the parts: they stand in a script."""
        for what in ("vendor", "library"):
            word = getattr(self, what)
            if len(word) > 64 or not _WORD.fullmatch(word):
                msg = f"{what} {word!r} is not allowed; use letters and digits, with single . _ - between: 'cern.ch'"
                raise InputError(msg)
        match = _VERSION.fullmatch(self.version)
        if match is None:
            msg = f"version {self.version!r} of an IP is not allowed; use one or two numbers, e.g. '1' or '2.1'"
            raise InputError(msg)
        object.__setattr__(self, "version", f"{int(match[1])}.{int(match[2] or 0)}")


@dataclass(frozen=True)
class Side:
    """The data of one side of a core.

    Attributes
    ----------
    port
        Name of the port.
    bits
        Its width.
    beats
        Words of one event: 1 for a fully parallel design.
    fields
        The inputs or outputs of the network in a word, as in the run's ``interface.json``.
    """

    port: str
    bits: int
    beats: int
    fields: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Core:
    """A design with its name and its figures.

    Attributes
    ----------
    top
        Name of the top module.
    name
        The rest of its name.
    digest
        That of the network's graph.
    clock_period_ns
        Target clock period, in ns.
    latency_cycles, initiation_interval
        As the co-simulation measured them.
    stream
        Whether the ports are AXI4-Stream.
    ports
        Name, direction, width and meaning of each port.
    """

    top: str
    name: CoreName
    digest: str
    clock_period_ns: float
    latency_cycles: int
    initiation_interval: int | None
    stream: bool
    ports: tuple[Mapping[str, Any], ...]
    input: Side
    output: Side


def read_core(
    interface: Mapping[str, Any], digest: str, name: CoreName, *, latency_cycles: int, initiation_interval: int | None
) -> Core:
    """Return the core that a run's ``interface.json`` describes.

    Raises
    ------
    InputError
        It lacks something.
    """
    try:
        stream = "protocol" in interface
        widths = {port["name"]: int(port["width"]) for port in interface["ports"]}
        sides = []
        for side, parallel, data in (("input", "in_data", "s_axis_tdata"), ("output", "out_data", "m_axis_tdata")):
            port = data if stream else parallel
            fields = interface[side]["streams"] if stream else interface[f"{side}s"]
            sides.append(Side(port, widths[port], int(interface[side]["beats"]) if stream else 1, tuple(fields)))
        return Core(
            interface["top"], name, digest, float(interface["clock_period_ns"]), latency_cycles, initiation_interval,
            stream, tuple(interface["ports"]), *sides,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        msg = f"interface.json of the run lacks {error}; write it again with the stage rtl"
        raise InputError(msg) from None


def core_json(core: Core, vectors: Mapping[str, int]) -> dict[str, Any]:
    """Return the description of a core as JSON.

    Parameters
    ----------
    vectors
        Kind of vector → number of events, in the order of the files.
    """
    sides = {side.port: side for side in (core.input, core.output)}
    return {
        "schema": "l1dl-ip/1",
        "name": core.top,
        "vendor": core.name.vendor,
        "library": core.name.library,
        "version": core.name.version,
        "graph_digest": core.digest,
        "protocol": "axi4-stream" if core.stream else "valid",
        "clock": {"port": "clk", "period_ns": core.clock_period_ns},
        "reset": {"port": "rst", "active": "high", "synchronous": True},
        "latency_cycles": core.latency_cycles,
        "initiation_interval": core.initiation_interval,
        "input_beats": core.input.beats,
        "output_beats": core.output.beats,
        "ports": [
            {**port, "fields": [_field(field) for field in sides[port["name"]].fields]}
            if port["name"] in sides
            else dict(port)
            for port in core.ports
        ],
        "vectors": dict(vectors),
    }


def _field(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": group["name"],
        "shape": group["shape"],
        "type": group["type"],
        **_place(group["bits"]),
        "values": [{"name": value["name"], **_place(value["bits"])} for value in group["values"]],
    }


def _place(bits: tuple[int, int]) -> dict[str, int]:
    high, low = bits
    return {"offset": low, "width": high - low + 1}


def hex_words(rows: Codes, ports: Ports, side: Side) -> str:
    """Return rows of codes as the words of a port, one hexadecimal number in each line, as ``$readmemh`` reads them.

    Parameters
    ----------
    rows
        Codes, shape (events, values).
    ports
        The inputs, or the outputs, of the network.

    Raises
    ------
    InputError
        The fields of the port are not those of the network.
    """
    layout = [(field["name"], _place(field["bits"])["width"]) for field in side.fields]
    if layout != [(port.name, port.size // side.beats * port.spec.width) for port in ports]:
        msg = f"port {side.port} has the fields {layout}, which are not those of the network; run the stage rtl again"
        raise InputError(msg)
    parts = [
        (part.reshape(len(rows) * side.beats, -1), port.spec.width)
        for part, port in zip(split(rows, ports), ports, strict=True)
    ]
    bits = np.concatenate([_bits(codes, width) for codes, width in parts], axis=1)
    padded = np.zeros((len(bits), math.ceil(side.bits / 8) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    words = np.packbits(padded, axis=1, bitorder="little")[:, ::-1]  # the highest byte stands first
    digits = math.ceil(side.bits / 4)
    return "".join(f"{word.tobytes().hex()[-digits:]}\n" for word in words)


def _bits(codes: Codes, width: int) -> np.ndarray:
    """Return the bits of each row of codes, the lowest first."""
    return ((codes[:, :, None] >> np.arange(width)) & 1).astype(np.uint8).reshape(len(codes), -1)
