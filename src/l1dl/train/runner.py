"""One training epoch and one evaluation as compiled functions, for each Keras back end.

The whole data set lives on the device; an epoch is a loop over shuffled batches inside one compiled
function, so that Python is entered once per epoch.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from l1dl.models.backend import import_keras

Arrays = list[npt.NDArray[Any]]
Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Runner(Protocol):
    """A model with its optimiser and data, ready to be trained epoch by epoch."""

    def run_epoch(self, epoch: int) -> float:
        """Train for one epoch and return the mean loss; the shuffling depends on seed and epoch only."""

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""

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
        Features (N, F) and class indices (N,).
    batch_size
        Jets in a batch; a training set smaller than that is one batch.
    """
    keras = import_keras()
    optimiser.build(model.trainable_variables)
    batch_size = min(batch_size, len(training[0]))
    kind = JaxRunner if keras.backend.backend() == "jax" else TensorFlowRunner
    return kind(model, optimiser, training, validation, batch_size, seed)


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
        self._state: Any = tuple([variable.value for variable in group] for group in self._variables)
        x, y = (jax.device_put(part) for part in training)
        x_validation, y_validation = (jax.device_put(part) for part in validation)
        batches = len(training[0]) // batch_size

        def loss_of(trainable: Any, fixed: Any, features: Any, labels: Any, *, learning: bool) -> Any:
            logits, fixed = model.stateless_call(trainable, fixed, features, training=learning)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            return -jnp.mean(chosen), (fixed, logits)

        def step(state: Any, chosen: Any) -> Any:
            trainable, fixed, optimiser_variables = state
            gradient_of = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (fixed, _)), gradients = gradient_of(trainable, fixed, x[chosen], y[chosen], learning=True)
            trainable, optimiser_variables = optimiser.stateless_apply(optimiser_variables, gradients, trainable)
            return (trainable, fixed, optimiser_variables), loss

        def run(state: Any, epoch: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(seed), epoch)
            order = jax.random.permutation(key, len(x))[: batches * batch_size].reshape(batches, batch_size)
            state, losses = jax.lax.scan(step, state, order)
            return state, jnp.mean(losses)

        def evaluate(state: Any) -> Any:
            loss, (_, logits) = loss_of(state[0], state[1], x_validation, y_validation, learning=False)
            return loss, jnp.mean(jnp.argmax(logits, axis=1) == y_validation)

        self._run = jax.jit(run)
        self._evaluate = jax.jit(evaluate)

    def run_epoch(self, epoch: int) -> float:
        """Train for one epoch and return the mean loss."""
        self._state, loss = self._run(self._state, epoch)
        return float(loss)

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""
        loss, accuracy = self._evaluate(self._state)
        return float(loss), float(accuracy)

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
        self._size, self._batch_size, self._seed = len(training[0]), batch_size, seed
        x, y = tf.constant(training[0]), tf.constant(training[1])
        x_validation, y_validation = tf.constant(validation[0]), tf.constant(validation[1])

        def loss_of(features: Any, labels: Any, *, learning: bool) -> Any:
            logits = model(features, training=learning)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            return tf.reduce_mean(losses), logits

        def run(order: Any) -> Any:
            total = tf.constant(0.0)
            for chosen in order:
                with tf.GradientTape() as tape:
                    loss, _ = loss_of(tf.gather(x, chosen), tf.gather(y, chosen), learning=True)
                gradients = tape.gradient(loss, model.trainable_variables)
                optimiser.apply(gradients, model.trainable_variables)
                total += loss
            return total / tf.cast(len(order), tf.float32)

        def evaluate() -> Any:
            loss, logits = loss_of(x_validation, y_validation, learning=False)
            right = tf.argmax(logits, axis=1) == y_validation
            return loss, tf.reduce_mean(tf.cast(right, tf.float32))

        self._run = tf.function(run, jit_compile=True)
        self._evaluate = tf.function(evaluate, jit_compile=True)

    def run_epoch(self, epoch: int) -> float:
        """Train for one epoch and return the mean loss."""
        import tensorflow as tf

        order = np.random.default_rng([self._seed, epoch]).permutation(self._size)
        batches = self._size // self._batch_size
        order = order[: batches * self._batch_size].reshape(batches, self._batch_size)
        return float(self._run(tf.constant(order, dtype=tf.int32)))

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""
        loss, accuracy = self._evaluate()
        return float(loss), float(accuracy)

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
