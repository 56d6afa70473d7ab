"""One training epoch and one evaluation as compiled functions, for each Keras back end.

The whole data set lives on the device; an epoch is a loop over shuffled batches inside one compiled
function, so that Python is entered once per epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from l1dl.models.backend import import_keras
from l1dl.train.bits import places_of
from l1dl.train.pruning import mask

Arrays = list[npt.NDArray[Any]]
Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

BLOCK_VALUES = 1 << 20
"""Most input values that are evaluated together."""


class Runner(Protocol):
    """A model with its optimiser and data, ready to be trained epoch by epoch."""

    def run_epoch(
        self, epoch: int, features: Features | None = None, zeros: Sequence[int] = (), beta: float = 0.0
    ) -> float:
        """Train for one epoch and return the mean loss; the shuffling depends on seed and epoch only.

        Parameters
        ----------
        beta
            Weight of the EBOPs in the loss, for a model of HGQ2.
        features
            Take these in place of the features of the training split, as augmentation wants it.
        zeros
            Number of weights of each trainable variable that are zero from the start of this epoch; none if empty.
        """

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split; a model of HGQ2 has the ranges that it is training."""

    def ebops(self) -> float:
        """Return the EBOPs of a model of HGQ2; 0 for another one."""

    def get_state(self) -> Arrays:
        """Return every variable of model and optimiser."""

    def set_state(self, state: Arrays) -> None:
        """Restore what `get_state` returned."""

    def weights(self) -> Arrays:
        """Return the model's weights, in the order of ``model.get_weights()``."""


def make_runner(
    model: Any,
    optimiser: Any,
    training: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    *,
    batch_size: int,
    seed: int,
) -> Runner:
    """Return the runner for the back end that Keras runs on.

    Parameters
    ----------
    model
        A built ``keras.Model`` that returns logits.
    optimiser
        A ``keras.optimizers.Optimizer``, not yet built.
    training, validation
        Features (N, F) or images (N, H, W, C), and class indices (N,).
    batch_size
        Jets in a batch; a training set smaller than that is one batch.
    """
    keras = import_keras()
    optimiser.build(model.trainable_variables)
    batch_size = min(batch_size, len(training[0]))
    kind = JaxRunner if keras.backend.backend() == "jax" else TensorFlowRunner
    return kind(model, optimiser, training, validation, batch_size, seed)


def _blocks(x: Features) -> Iterator[slice]:
    """Yield the events of a split in blocks that a device evaluates at once."""
    size = max(1, BLOCK_VALUES // int(np.prod(x.shape[1:])))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def _mean(parts: Sequence[tuple[slice, tuple[Any, Any]]]) -> tuple[float, float]:
    """Return loss and accuracy of all blocks together."""
    weights = [block.stop - block.start for block, _ in parts]
    loss, accuracy = (np.average([float(part[index]) for _, part in parts], weights=weights) for index in (0, 1))
    return float(loss), float(accuracy)


class JaxRunner:
    """Training with `jax.jit` and `jax.lax.scan`."""

    def __init__(
        self,
        model: Any,
        optimiser: Any,
        training: tuple[Features, Labels],
        validation: tuple[Features, Labels],
        batch_size: int,
        seed: int,
    ) -> None:
        import jax
        import jax.numpy as jnp

        self._variables = (model.trainable_variables, model.non_trainable_variables, optimiser.variables)
        self._model = model
        betas, self._ebops = places_of(model, "beta"), places_of(model, "ebops")
        high_granularity = bool(self._ebops)
        self._state: Any = tuple([variable.value for variable in group] for group in self._variables)
        self._training = tuple(jax.device_put(part) for part in training)
        self._validation = [
            (block, [jax.device_put(part[block]) for part in validation]) for block in _blocks(validation[0])
        ]
        size, batches = len(training[0]), len(training[0]) // batch_size

        def loss_of(trainable: Any, fixed: Any, features: Any, labels: Any, *, learning: bool) -> Any:
            logits, fixed, costs = model.stateless_call(
                trainable, fixed, features, training=learning or high_granularity, return_losses=True
            )
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            loss = -jnp.mean(chosen)
            return loss + sum(costs) if learning else loss, (fixed, logits)

        def step_of(state: Any, features: Any, labels: Any) -> Any:
            trainable, fixed, optimiser_variables = state
            gradient_of = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (fixed, _)), gradients = gradient_of(trainable, fixed, features, labels, learning=True)
            trainable, optimiser_variables = optimiser.stateless_apply(optimiser_variables, gradients, trainable)
            return (trainable, fixed, optimiser_variables), loss

        def run(state: Any, epoch: Any, x: Any, y: Any, zeros: Any, beta: Any) -> Any:
            fixed = [beta if place in betas else value for place, value in enumerate(state[1])]
            state = (state[0], fixed, state[2])
            masks = [None if count is None else mask(part, count) for part, count in zip(state[0], zeros, strict=True)]

            def masked(state: Any) -> Any:
                kept = [part if one is None else part * one for part, one in zip(state[0], masks, strict=True)]
                return (kept, *state[1:])

            def step(state: Any, chosen: Any) -> Any:
                state, loss = step_of(state, x[chosen], y[chosen])
                return masked(state), loss

            key = jax.random.fold_in(jax.random.key(seed), epoch)
            order = jax.random.permutation(key, size)[: batches * batch_size].reshape(batches, batch_size)
            state, losses = jax.lax.scan(step, masked(state), order)
            return state, jnp.mean(losses)

        def evaluate(state: Any, x: Any, y: Any) -> Any:
            loss, (_, logits) = loss_of(state[0], state[1], x, y, learning=False)
            return loss, jnp.mean(jnp.argmax(logits, axis=1) == y)

        self._run = jax.jit(run)
        self._evaluate = jax.jit(evaluate)

    def run_epoch(
        self, epoch: int, features: Features | None = None, zeros: Sequence[int] = (), beta: float = 0.0
    ) -> float:
        """Train for one epoch and return the mean loss."""
        x, y = self._training
        counts = [count or None for count in zeros] or [None] * len(self._variables[0])
        features = x if features is None else features
        self._state, loss = self._run(self._state, epoch, features, y, counts, np.float32(beta))
        return float(loss)

    def ebops(self) -> float:
        """Return the EBOPs of a model of HGQ2; 0 for another one."""
        return float(sum(int(self._state[1][place]) for place in self._ebops))

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""
        return _mean([(block, self._evaluate(self._state, *part)) for block, part in self._validation])

    def get_state(self) -> Arrays:
        """Return every variable of model and optimiser."""
        return [np.asarray(value) for group in self._state for value in group]

    def set_state(self, state: Arrays) -> None:
        """Restore what `get_state` returned."""
        import jax

        values = iter(state)
        self._state = tuple([jax.device_put(next(values)) for _ in group] for group in self._variables)

    def weights(self) -> Arrays:
        """Return the model's weights."""
        for group, values in zip(self._variables[:2], self._state[:2], strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        weights: Arrays = self._model.get_weights()
        return weights


class TensorFlowRunner:
    """Training with `tf.function` compiled by XLA."""

    def __init__(
        self,
        model: Any,
        optimiser: Any,
        training: tuple[Features, Labels],
        validation: tuple[Features, Labels],
        batch_size: int,
        seed: int,
    ) -> None:
        import tensorflow as tf

        self._model = model
        self._variables = [*model.variables, *optimiser.variables]
        self._trainable = model.trainable_variables
        self._size, self._batch_size, self._seed = len(training[0]), batch_size, seed
        self._training = tuple(tf.constant(part) for part in training)
        self._validation = [
            (block, [tf.constant(part[block]) for part in validation]) for block in _blocks(validation[0])
        ]

        def loss_of(features: Any, labels: Any, *, learning: bool) -> Any:
            logits = model(features, training=learning)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            return tf.reduce_mean(losses), logits

        def run(order: Any, x: Any, y: Any, zeros: Any) -> Any:
            total = tf.constant(0.0)
            pruned = zip(model.trainable_variables, zeros, strict=True)
            masks = [(variable, mask(variable.value, count)) for variable, count in pruned if count is not None]
            for variable, kept in masks:
                variable.assign(variable.value * kept)
            for chosen in order:
                with tf.GradientTape() as tape:
                    loss, _ = loss_of(tf.gather(x, chosen), tf.gather(y, chosen), learning=True)
                gradients = tape.gradient(loss, model.trainable_variables)
                optimiser.apply(gradients, model.trainable_variables)
                for variable, kept in masks:
                    variable.assign(variable.value * kept)
                total += loss
            return total / tf.cast(len(order), tf.float32)

        def evaluate(x: Any, y: Any) -> Any:
            loss, logits = loss_of(x, y, learning=False)
            right = tf.argmax(logits, axis=1) == y
            return loss, tf.reduce_mean(tf.cast(right, tf.float32))

        self._run = tf.function(run, jit_compile=True)
        self._evaluate = tf.function(evaluate, jit_compile=True)

    def ebops(self) -> float:
        """Return 0: the models of HGQ2 train on JAX."""
        return 0.0

    def run_epoch(
        self,
        epoch: int,
        features: Features | None = None,
        zeros: Sequence[int] = (),
        beta: float = 0.0,  # noqa: ARG002
    ) -> float:
        """Train for one epoch and return the mean loss."""
        import tensorflow as tf

        order = np.random.default_rng([self._seed, epoch]).permutation(self._size)
        batches = self._size // self._batch_size
        order = order[: batches * self._batch_size].reshape(batches, self._batch_size)
        x, y = self._training
        x = x if features is None else tf.constant(features)
        counts = [tf.constant(count) if count else None for count in zeros] or [None] * len(self._trainable)
        return float(self._run(tf.constant(order, dtype=tf.int32), x, y, counts))

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""
        return _mean([(block, self._evaluate(*part)) for block, part in self._validation])

    def get_state(self) -> Arrays:
        """Return every variable of model and optimiser."""
        return [variable.numpy() for variable in self._variables]

    def set_state(self, state: Arrays) -> None:
        """Restore what `get_state` returned."""
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    def weights(self) -> Arrays:
        """Return the model's weights."""
        weights: Arrays = self._model.get_weights()
        return weights
