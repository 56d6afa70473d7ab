"""The exact emulator compiled by XLA, for the CPU or a GPU: the steps of the NumPy emulator, traced by JAX."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, ToolMissingError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ports import check_rows, count_values, split


class XlaEmulator(Emulator):
    """A FixedGraph, compiled for batches of one size; the last one is filled up.

    Parameters
    ----------
    graph
        A network with any number of inputs and outputs.
    batch
        Events of a batch.
    platform
        ``"cpu"`` or ``"gpu"``; by default what JAX prefers.

    Attributes
    ----------
    batch
        Events of a batch.

    Raises
    ------
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    InputError
        There is no such device.
    ToolMissingError
        JAX is not installed.
    """

    def __init__(self, graph: FixedGraph, *, batch: int = 1 << 15, platform: str | None = None) -> None:
        try:
            import jax
        except ImportError as error:
            msg = f"JAX cannot be imported ({error}); install it: pip install jax"
            raise ToolMissingError(msg) from error
        super().__init__(graph)
        try:
            self._device = jax.devices(platform)[0]
        except RuntimeError as error:
            msg = f"JAX has no device {platform!r}: {error}; install its build for this device, or use the CPU"
            raise InputError(msg) from None
        self.batch = batch
        # A GPU would else multiply float32 with 10 bits of the significand.
        with _wide_codes(), jax.default_matmul_precision("highest"), jax.default_device(self._device):
            ports = [jax.ShapeDtypeStruct((batch, *port.shape), np.int64) for port in graph.input_ports]
            self._compiled = jax.jit(self._outputs).lower(ports).compile()

    def run(self, rows: Codes) -> Codes:
        """Return rows of output codes, shape (events, values of all outputs), for rows of input codes.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """
        check_rows(rows, self.graph.input_ports)
        found = np.empty((len(rows), count_values(self.graph.output_ports)), dtype=np.int64)
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            full = np.zeros((self.batch, rows.shape[1]), dtype=np.int64)
            full[: len(part)] = part
            found[start : start + len(part)] = np.asarray(self.run_placed(self.place(full)))[: len(part)]
        return found

    def place(self, rows: Codes) -> list[Any]:
        """Return a batch of rows of input codes, which are not checked, as an array on the device for each port."""
        import jax

        with _wide_codes():
            return [jax.device_put(each, self._device) for each in split(rows, self.graph.input_ports)]

    def run_placed(self, inputs: list[Any]) -> Any:
        """Return the rows of output codes of what `place` returned, on the device, as soon as they are there."""
        with _wide_codes():
            return self._compiled(inputs).block_until_ready()

    def _outputs(self, inputs: list[Codes]) -> Codes:
        import jax.numpy as jnp

        trace = self.compute(inputs)
        rows: Codes = jnp.concatenate([trace[name].reshape(self.batch, -1) for name in self.graph.outputs], axis=1)
        return rows


def _wide_codes() -> AbstractContextManager[Any]:
    """Let JAX compute with int64 and float64: codes have up to 63 bits."""
    import jax
    import jax.experimental

    module = jax if hasattr(jax, "enable_x64") else jax.experimental
    context: AbstractContextManager[Any] = module.enable_x64(True)  # noqa: FBT003  no other way
    return context
