"""Draw random quantised networks and demand that all their meanings agree in every output code.

    python scripts/fuzz.py --minutes 10 --seed 1
    python scripts/fuzz.py --case fuzz/case-17.json      # a failure again

Each network has 2 to 12 layers, branches, and often several inputs or outputs. Compared are the quantised
Keras model, hls4ml's C++, the emulator, the RTL program (in alkaid's interpreter) and, for every tenth network,
the Verilog in Verilator. A network that differs or crashes is cut down to the fewest layers that still fail, and
kept as a small file. A network that conversion refuses by name is counted with its reason, and is no failure.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EVENTS = 200
VERILOG_EVERY = 10
LARGEST = 256
"""Values of the largest tensor that a network may have; fully parallel firmware grows with them."""


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
    verilog: bool = False


class Network:
    """A random network, built layer by layer: the first layers of a seed are the same for any number of layers."""

    def __init__(self, seed: int, layers: int) -> None:
        import numpy as np

        from l1dl.models.backend import import_keras, import_qkeras

        keras = import_keras()
        self.keras, self.qkeras, self.rng = keras, import_qkeras(), np.random.default_rng(seed)
        self.kinds: list[str] = []
        self.inputs: list[Any] = []
        self.tensors = [self.new_input() for _ in range(1 + (self.rng.random() < 0.3))]
        self.used: set[int] = set()
        for _ in range(layers):
            self.add_layer()
        ends = [tensor for tensor in self.tensors if id(tensor) not in self.used]
        keep = min(len(ends), 3)
        self.model = keras.Model(self.inputs, ends[-keep:] if keep > 1 else ends[-1], name=f"fuzz{seed}")
        self.set_weights()

    def name(self, kind: str) -> str:
        """Note a layer of a kind, and return its name."""
        self.kinds.append(kind)
        return f"{kind.lower()}_{len(self.kinds)}"

    def integer(self, low: int, high: int) -> int:
        """Return a random integer; both ends are included."""
        return int(self.rng.integers(low, high, endpoint=True))

    def choice(self, options: list[Any]) -> Any:
        """Return one of the options."""
        return options[self.integer(0, len(options) - 1)]

    def new_input(self) -> Any:
        """Add an input with its quantiser."""
        shapes = [(self.integer(2, 8),), (self.integer(3, 6), self.integer(1, 3)),
                  (self.integer(3, 6), self.integer(3, 6), self.integer(1, 2))]  # fmt: skip
        shape = shapes[self.choice([0, 1, 2, 2])] if not self.inputs else tuple(self.inputs[0].shape[1:])
        tensor = self.keras.Input(shape, name=f"input_{len(self.inputs)}")
        self.inputs.append(tensor)
        bits = self.integer(3, 10)
        quantiser = self.qkeras.quantized_bits(bits, self.integer(0, bits - 2), alpha=1)
        return self.qkeras.QActivation(quantiser, name=f"port_{len(self.inputs)}")(tensor)

    def activation(self) -> Any:
        """Return a random quantiser of activations."""
        bits = self.integer(2, 8)
        if self.rng.random() < 0.5:
            return self.qkeras.quantized_relu(bits, self.integer(0, bits - 1))
        return self.qkeras.quantized_bits(bits, self.integer(0, bits - 2), alpha=1)

    def weights(self) -> Any:
        """Return a random quantiser of weights."""
        bits = self.integer(2, 6)
        kind = self.rng.random()
        if kind < 0.1:
            return self.qkeras.ternary(alpha=1)
        if kind < 0.2:
            return self.qkeras.binary(alpha=1)
        if kind < 0.3:
            return self.qkeras.quantized_po2(4, 2)
        return self.qkeras.quantized_bits(bits, self.integer(0, 1), alpha=1)

    def add_layer(self) -> None:
        """Add one layer that fits one of the newest tensors, with a quantiser behind it if its result grows."""
        source = self.tensors[-1] if self.rng.random() < 0.7 else self.choice(self.tensors)
        rank = len(source.shape) - 1
        options = [self.dense, self.function, self.merge, self.merge, self.scale]
        if rank == 1:
            options += [self.dense, self.dense, self.repeat]
        else:
            options += [self.convolve, self.convolve, self.convolve, self.pool, self.pool, self.pad, self.reshape]
        for _ in range(20):
            method = self.choice(options)
            named = len(self.kinds)
            layer, grows, sources = method(source, rank)
            if layer is None:
                continue
            try:
                result = layer(sources if len(sources) > 1 else sources[0])
            except ValueError:  # an image too small for the layer
                del self.kinds[named:]
                continue
            if 0 < _size(result) <= LARGEST:
                if grows:
                    quantiser = self.qkeras.QActivation(self.activation(), name=self.name("QActivation"))
                    result = quantiser(result)
                self.used.update(id(tensor) for tensor in sources)
                self.tensors.append(result)
                return
            del self.kinds[named:]

    def dense(self, source: Any, _rank: int) -> Any:
        """Return a dense layer along the last axis."""
        layer = self.qkeras.QDense(
            self.integer(2, 6), kernel_quantizer=self.weights(), bias_quantizer=self.bias(),
            use_bias=bool(self.rng.random() < 0.8), name=self.name("QDense"),
        )  # fmt: skip
        return layer, True, [source]

    def bias(self) -> Any:
        """Return a random quantiser of biases."""
        return self.qkeras.quantized_bits(self.integer(3, 6), self.integer(0, 2), alpha=1)

    def convolve(self, source: Any, rank: int) -> Any:
        """Return a convolution."""
        kernel = tuple(self.integer(1, min(3, source.shape[axis + 1])) for axis in range(rank - 1))
        strides = self.integer(1, 2)
        options: dict[str, Any] = {"padding": self.choice(["valid", "same"]), "bias_quantizer": self.bias()}
        if rank == 2:
            return self.qkeras.QConv1D(
                self.integer(1, 4), kernel[0], strides=strides, kernel_quantizer=self.weights(),
                name=self.name("QConv1D"), **options,
            ), True, [source]  # fmt: skip
        kind = self.choice(["QConv2D", "QConv2D", "QDepthwiseConv2D", "QSeparableConv2D"])
        name = self.name(kind)
        if kind == "QConv2D":
            layer = self.qkeras.QConv2D(
                self.integer(1, 4), kernel, strides=strides, kernel_quantizer=self.weights(), name=name, **options
            )
        elif kind == "QDepthwiseConv2D":
            layer = self.qkeras.QDepthwiseConv2D(
                kernel, strides=strides, depthwise_quantizer=self.weights(), name=name, **options
            )
        else:
            layer = self.qkeras.QSeparableConv2D(
                self.integer(1, 4), kernel, strides=strides, depthwise_quantizer=self.weights(),
                pointwise_quantizer=self.weights(), name=name, **options,
            )  # fmt: skip
        return layer, True, [source]

    def pool(self, source: Any, rank: int) -> Any:
        """Return a pooling layer."""
        function, axes = self.choice(["Max", "Average"]), f"{rank - 1}D"
        if self.rng.random() < 0.3:
            kind = f"Global{function}Pooling{axes}"
            return getattr(self.keras.layers, kind)(name=self.name(kind)), function == "Average", [source]
        kind = f"{function}Pooling{axes}"
        if min(source.shape[1:-1]) < 2:
            return None, False, []
        size = self.integer(2, min(3, *source.shape[1:-1]))
        padding = self.choice(["valid", "same"]) if function == "Max" else "valid"
        layer = getattr(self.keras.layers, kind)(size, padding=padding, name=self.name(kind))
        return layer, function == "Average", [source]

    def pad(self, source: Any, rank: int) -> Any:
        """Return a layer that pads, crops or repeats pixels."""
        if rank == 3 and min(source.shape[1:3]) < 3:
            return None, False, []
        kind = f"{self.choice(['ZeroPadding', 'Cropping', 'UpSampling'])}{rank - 1}D"
        size = 2 if kind.startswith("UpSampling") else 1
        return getattr(self.keras.layers, kind)(size, name=self.name(kind)), False, [source]

    def reshape(self, source: Any, rank: int) -> Any:
        """Return a layer that changes the order or the shape."""
        layers = self.keras.layers
        kind = self.choice(["Flatten", "Reshape", "Permute"])
        if kind == "Flatten":
            return layers.Flatten(name=self.name(kind)), False, [source]
        if kind == "Permute":
            order = tuple(int(axis) + 1 for axis in self.rng.permutation(rank))
            return layers.Permute(order, name=self.name(kind)), False, [source]
        shape = (source.shape[-1], _size(source) // source.shape[-1])
        return layers.Reshape(shape, name=self.name(kind)), False, [source]

    def repeat(self, source: Any, _rank: int) -> Any:
        """Return a layer that repeats a vector."""
        return self.keras.layers.RepeatVector(self.integer(2, 3), name=self.name("RepeatVector")), False, [source]

    def merge(self, source: Any, rank: int) -> Any:
        """Return a layer that joins two tensors."""
        others = [other for other in self.tensors if other is not source and other.shape == source.shape]
        other = self.choice(others) if others else source
        kinds = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]
        kind = self.choice(kinds + (["Dot"] if rank == 1 else []))
        options = {"axes": 1} if kind == "Dot" else {}
        layer = getattr(self.keras.layers, kind)(name=self.name(kind), **options)
        return layer, kind not in ("Maximum", "Minimum", "Concatenate"), [source, other]

    def function(self, source: Any, _rank: int) -> Any:
        """Return an element-wise function."""
        layers = self.keras.layers
        kind = self.choice(["QActivation", "QActivation", "ReLU", "LeakyReLU", "PReLU", "tanh", "sigmoid", "elu"])
        name = self.name(kind)
        if kind == "QActivation":
            return self.qkeras.QActivation(self.activation(), name=name), False, [source]
        if kind == "ReLU":
            return layers.ReLU(max_value=self.choice([None, 1.0, 6.0]), name=name), False, [source]
        if kind == "LeakyReLU":
            return layers.LeakyReLU(negative_slope=self.choice([0.5, 0.25, 0.125]), name=name), True, [source]
        if kind == "PReLU":
            return layers.PReLU(shared_axes=list(range(1, len(source.shape) - 1)) or None, name=name), True, [source]
        return layers.Activation(kind, name=name), True, [source]

    def scale(self, source: Any, _rank: int) -> Any:
        """Return a frozen scaling."""
        layer = self.keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name=self.name("BatchNormalization"))
        return layer, True, [source]

    def set_weights(self) -> None:
        """Give all weights random values; those of scalings lie on a grid."""
        for layer in self.model.layers:
            shapes = [value.shape for value in layer.get_weights()]
            if type(layer).__name__ == "BatchNormalization":
                scale = 2.0 ** self.rng.integers(-2, 2, shapes[0])
                offset = self.rng.integers(-16, 17, shapes[0]) / 8
                layer.set_weights([scale, offset, 0 * scale, 0 * scale + 1])
            elif type(layer).__name__ == "PReLU":
                layer.set_weights([self.rng.integers(-8, 9, shapes[0]) / 8])
            elif shapes:
                layer.set_weights([self.rng.normal(0, 0.7, shape) for shape in shapes])


def _size(tensor: Any) -> int:
    size = 1
    for length in tensor.shape[1:]:
        size *= length
    return size


def examine(seed: int, layers: int, *, verilog: bool) -> Outcome:
    """Build one network and compare its meanings."""
    import numpy as np

    from l1dl.card import CosimCard
    from l1dl.convert.convert import convert_model
    from l1dl.cosim.cosim import cosimulate
    from l1dl.cosim.stimuli import all_vectors
    from l1dl.emulate.compare import compare, require
    from l1dl.emulate.csim import Csim
    from l1dl.emulate.engine import Emulator
    from l1dl.emulate.keras_codes import exact_rows, keras_outputs
    from l1dl.errors import UnsupportedError
    from l1dl.models.backend import import_keras
    from l1dl.ports import count_values, decode_rows, split
    from l1dl.rtl.lower import lower
    from l1dl.rtl.project import build_rtl

    keras = import_keras()
    keras.backend.clear_session()
    network = Network(seed, layers)
    outcome = Outcome(seed, layers, "agrees", kinds=network.kinds)
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
        if verilog:
            report, _ = cosimulate(
                graph, build_rtl(graph), rows, work, settings=CosimCard(random_vectors=EVENTS), self_test=False
            )
            require(report.agreement)
            outcome.verilog = True
    return outcome


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


def _quiet() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  libraries warn about each network


def _work(seed: int) -> Outcome:
    verilog = seed % VERILOG_EVERY == 0
    outcome = try_network(seed, layers_of(seed), verilog=verilog)
    return shrink(outcome, verilog=verilog) if outcome.state == "FAILS" else outcome


def fuzz(minutes: float, seed: int, out: Path, jobs: int) -> int:
    """Examine networks until the time is over; return the number of failures."""
    end = time.monotonic() + 60 * minutes
    states: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    verilog = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_quiet) as pool:
        pending = collections.deque()
        try:
            while time.monotonic() < end:
                while len(pending) < 2 * jobs:
                    pending.append(pool.submit(_work, seed))
                    seed += 1
                outcome = pending.popleft().result()
                states[outcome.state] += 1
                if outcome.state == "agrees":
                    kinds.update(outcome.kinds)
                    verilog += outcome.verilog
                elif outcome.state == "refused":
                    refusals[outcome.reason.split(";")[0][:150]] += 1
                elif outcome.state == "FAILS":
                    path = out / f"case-{outcome.seed}.json"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
                    print(f"FAILS: {path}: {outcome.reason[:300]}", flush=True)
                if sum(states.values()) % 20 == 0:
                    print(f"{dict(states)}, last seed {outcome.seed}", flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    print(f"networks: {dict(states)}; {verilog} of them also in Verilog; next seed {seed - len(pending)}")
    print("layers that agreed: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    for reason, count in refusals.most_common():
        print(f"refused {count}: {reason}")
    return states["FAILS"]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="time to go on for")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first network; the next ones follow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at the same time")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="directory of failing cases")
    parser.add_argument("--case", type=Path, help="examine this failing case again, and nothing else")
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case.read_text())
        outcome = try_network(case["seed"], case["layers"], verilog=case["seed"] % VERILOG_EVERY == 0)
        print(json.dumps(asdict(outcome), indent=2))
        sys.exit(outcome.state == "FAILS")
    sys.exit(fuzz(arguments.minutes, arguments.seed, arguments.out, arguments.jobs) > 0)


if __name__ == "__main__":
    main()
