"""A network against its limits: figures with their origins, what each measure would save, and what would be enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.flow.fit.limits import Limits
from l1dl.flow.fit.measures import all_measures
from l1dl.flow.fit.plan import Plan, changed, layers_of
from l1dl.flow.fit.result import Figure, Figures, Fit, Tried, Verdict
from l1dl.flow.fit.subject import Subject, TestEvents
from l1dl.flow.fit.suggest import suggest
from l1dl.graph import FixedGraph
from l1dl.ports import decode_rows
from l1dl.report.costs import ACROSS
from l1dl.report.inputs import Physics
from l1dl.report.physics import evaluate, physics_section
from l1dl.rtl.calibration import calibration
from l1dl.rtl.matrix import MatrixSolver
from l1dl.rtl.project import RtlDesign, build_rtl

Progress = Callable[[str, int, int], None]


class Study:
    """Puts networks that are alike to the RTL compiler, and to the test events."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._matrices = MatrixSolver()
        self._known: dict[Plan, Figures] = {}
        self.design = self._build(subject.graph, Plan())
        self._synthesised = _same_design(subject, self.design)

    def figures(self, plan: Plan) -> Figures:
        """Return what the network of a plan takes.

        Raises
        ------
        UnsupportedError
            Nothing would be left of it.
        """
        if plan not in self._known:
            self._known[plan] = self._compute(plan)
        return self._known[plan]

    def _compute(self, plan: Plan) -> Figures:
        original = plan == Plan()
        graph = self._subject.graph if original else changed(self._subject.graph, plan)
        design = self.design if original else self._build(graph, plan)
        loss = error = None
        if self._subject.events is not None and not plan.removes:
            loss, error = auc_loss(graph, self._subject.events)
        return Figures(
            self._figure(design.estimate.lut, "lut", exact=original),
            self._figure(design.estimate.ff, "ff", exact=original),
            design.latency_cycles,
            round(design.latency_cycles * design.clock_period_ns, 6),
            loss,
            error,
        )

    def _figure(self, estimate: float, name: str, *, exact: bool) -> Figure:
        """Return a figure: synthesised, or in proportion to what was, or in proportion to other networks."""
        usual, found = calibration(name), self._synthesised
        spread = (usual.low_95 / usual.scale, usual.high_95 / usual.scale)
        count = None if found is None else getattr(found, name)
        if found is None or count is None:
            origin = (
                f"{self.design.estimate.origin}, times {usual.scale:.2f} as {usual.networks} random networks have it"
            )
            value = usual.scale * estimate
        elif exact:
            return Figure(count, count, count, found.origin)
        else:
            own = count / getattr(self.design.estimate, name)
            origin = f"{self.design.estimate.origin}, times {own:.2f} as the synthesised network has it"
            value = own * estimate
        return Figure(value, value * spread[0], value * spread[1], origin)

    def _build(self, graph: FixedGraph, plan: Plan) -> RtlDesign:
        settings = self._subject.settings
        if plan.clock_period_ns is not None:
            settings = settings.model_copy(update={"clock_period_ns": plan.clock_period_ns, "stage_delay_ns": None})
        return build_rtl(graph, settings, grade=self._subject.grade, matrices=self._matrices)


def _same_design(subject: Subject, design: RtlDesign) -> Any:
    """Return the result of the synthesis if it is that of this design."""
    found = subject.resources
    if found is None or found.lut is None or found.estimate is None:
        return None
    return found if math.isclose(found.estimate.lut, design.estimate.lut, rel_tol=1e-9) else None


def auc_loss(graph: FixedGraph, events: TestEvents) -> tuple[float | None, float | None]:
    """Return the loss of macro AUC of a network against the float model, and its error; None where there is none."""
    logits = decode_rows(Emulator(graph).run(events.rows), graph.output_ports)
    classes = tuple(f"class {index}" for index in range(max(events.float_logits.shape[1], 2)))
    physics = Physics(classes, events.labels, {"float": events.float_logits, "rtl": logits})
    loss = physics_section(evaluate(physics))["auc_loss"]
    return loss["value"]["macro"], loss["error"]["macro"]


def fit(
    subject: Subject, limits: Limits, *, clock: bool = True, always: bool = False, progress: Progress | None = None
) -> Fit:
    """Hold a network against limits, and look for what helps where one is broken.

    Parameters
    ----------
    clock
        Whether the clock may change.
    always
        Try all measures even if no limit is broken.

    Raises
    ------
    UnsupportedError
        The network has something that has no RTL.
    """
    say = progress or (lambda _text, _done, _total: None)
    say("compiling", 0, 0)
    study = Study(subject)
    figures = study.figures(Plan())
    verdicts = tuple(_verdicts(subject, figures, limits))
    usual = figures.lut.value / max(study.design.estimate.lut, 1e-9)
    parts = study.design.estimate.layers
    across = study.design.estimate.lut - sum(part.lut for part in parts)
    layers = (*((part.name, usual * part.lut) for part in parts if part.lut), (ACROSS, usual * across))
    period = subject.settings.clock_period_ns
    done = Fit(subject.graph.name, subject.source, subject.trained, period, figures, verdicts, layers)
    notes = list(_notes(subject, done))
    if done.kept and not always:
        return replace(done, notes=tuple(notes))
    measures = all_measures(
        layers_of(subject.graph), {part.name: part.lut for part in parts}, subject.card, period, clock=clock
    )
    tried = []
    for index, measure in enumerate(measures):
        say(f"trying {measure.text}", index, len(measures))
        try:
            tried.append(Tried(measure, study.figures(measure.plan)))
        except UnsupportedError as error:
            notes.append(f"{measure.text}: {error}")
    suggestion = None
    if max(figures.ratios(limits), default=0) > 1:
        usable = [each for each in tried if subject.card is None or each.measure.settings is not None]
        suggestion = suggest(subject.card, study.figures, limits, usable, lambda text: say(text, 0, 0))
    tried.sort(key=lambda each: each.figures.lut.value)
    return replace(done, tried=tuple(tried), suggestion=suggestion, notes=tuple(notes))


def _verdicts(subject: Subject, figures: Figures, limits: Limits) -> Iterable[Verdict]:
    cycles, exact = figures.latency_cycles, figures.latency_ns
    counted = "counted in the simulated RTL" if subject.cycles == cycles else "by construction of the pipeline"
    latency = Figure(exact, exact, exact, f"{cycles} cycles, {counted}")
    for name, limit, figure in (
        ("latency_ns", limits.latency_ns, latency), ("lut", limits.lut, figures.lut), ("ff", limits.ff, figures.ff),
    ):  # fmt: skip
        if limit is not None:
            broken, remark = figure.value > limit, ""
            if broken and figure.low <= limit:
                remark = "the 95 % interval reaches below the limit"
            elif not broken and figure.high > limit:
                remark = "the 95 % interval reaches beyond the limit"
            yield Verdict(name, limit, figure, broken, remark)
    if limits.auc_loss is not None:
        loss, error = figures.auc_loss, figures.auc_loss_error or 0.0
        if loss is None:
            yield Verdict("auc_loss", limits.auc_loss, None, broken=False, remark=f"not known: {subject.reason}")
        else:
            figure = Figure(loss, loss - 1.96 * error, loss + 1.96 * error, "exact emulator on the test events")
            yield Verdict("auc_loss", limits.auc_loss, figure, loss > limits.auc_loss)


def _notes(subject: Subject, done: Fit) -> Iterable[str]:
    if not subject.trained:
        yield "The weights are random: training makes others, and with them another number of LUTs."
    if subject.trained and subject.card is None:
        yield "The card of the run is not known, so that measures are given in words only."
    if any(verdict.broken for verdict in done.verdicts if verdict.name == "auc_loss"):
        yield "The loss of AUC is too large: what saves resources does not mend that; train longer, or with more bits."
