"""The state of a training, one step of it, and its checkpoints."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.kernel_maps import MARGIN
from ovseg3r_model.network.pretrained_backbone import load_backbone
from ovseg3r_model.network.segmenter import Segmenter
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.network.spconv_backend import use_spconv
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.supervision.statistics import MatchStatistics
from ovseg3r_model.training.settings import TrainSettings, precision_of
from ovseg3r_model.training.shared_norm import share_norms
from ovseg3r_model.training.step import Work, step_losses

logger = logging.getLogger("ovseg3r.train")

_KINDS = ("exp_avg", "exp_avg_sq", "step")  # a parameter that had no gradient in some steps has fewer of its own
_HEADER = "ovseg3r"


class Diverged(InputError):
    """The loss is no number any more, or too large. batch: the scenes' tensors, as safetensors. here: whether it is on
    this process's scenes, of several that train together."""

    def __init__(self, message: str, batch: bytes, here: bool = True) -> None:
        super().__init__(message)
        self.batch, self.here = batch, here

    def __reduce__(self) -> tuple[Any, ...]:
        return Diverged, (str(self), self.batch, self.here)


@dataclass(frozen=True)
class StepReport:
    """What one step did; ``losses`` by name, "total" among them; norm: of the gradient before clipping."""

    step: int
    losses: dict[str, float]
    norm: float
    rate: float
    statistics: list[MatchStatistics]


def agreed(outcomes: Sequence[StepReport | Diverged]) -> StepReport:
    """One report of a step that several processes took with as many scenes each.

    Raises:
        Diverged: where they did; that of the process whose scenes it was on.
    """
    reports = [outcome for outcome in outcomes if isinstance(outcome, StepReport)]
    diverged = [outcome for outcome in outcomes if isinstance(outcome, Diverged)]
    if diverged:
        raise max(diverged, key=lambda each: each.here)
    losses = {name: sum(each.losses[name] for each in reports) / len(reports) for name in reports[0].losses}
    return replace(reports[0], losses=losses, statistics=[s for each in reports for s in each.statistics])


class Training:
    """A network being trained. Every random choice follows from the seed and the step, so that a training that goes on
    from a checkpoint ends with the same weights as an undisturbed one.

    In each process of a ``processes.team`` it is the same network: a step is that of the mean of the processes' losses,
    each over as many scenes, and so up to rounding that of one process over all of them.

    Raises:
        InputError: weights or a library that the settings name are not here, or do not fit.
    """

    def __init__(self, network: NetworkSettings, settings: TrainSettings) -> None:
        self.settings = settings
        device = torch.device(torch_device(settings.device))
        cuda = device.type == "cuda"
        if device.index is not None:
            torch.cuda.set_device(device)
        mixed = precision_of(settings) == "bfloat16"
        AcceleratorState._reset_state(True)  # it is the process's: an earlier training may have had other settings
        self.accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if mixed else "no")
        model = build_network(network, settings.seed)
        if settings.backbone is not None:
            report = load_backbone(model.backbone, Path(settings.backbone).expanduser())
            logger.info("%d of the backbone's weights are from %s", len(report.loaded), settings.backbone)
        if settings.convolution == "spconv" and not cuda:
            raise InputError("spconv trains on CUDA alone; leave model.train.convolution at torch.")
        if settings.convolution == "spconv":
            use_spconv(model.backbone)
        optimiser = torch.optim.AdamW(
            model.parameters(), settings.optimiser.learning_rate, weight_decay=settings.optimiser.weight_decay
        )
        if self._together:
            share_norms(model)
        # evaluation_mode: without DDP, which would walk the graph of every batch for parameters that it leaves unused;
        # _share_gradients does once a step what is needed.
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self._optimiser = self.accelerator.prepare_optimizer(optimiser)
        self._mean = {n: p.detach().clone() for n, p in self.network.named_parameters()} if self._ema else {}
        self.step = 0

    @property
    def network(self) -> Segmenter:
        """The network itself, with the weights of the last step."""
        model: Segmenter = self.accelerator.unwrap_model(self.model)
        return model

    def run_step(self, works: Sequence[Work]) -> StepReport:
        """One step of the optimiser over ``accumulate`` batches.

        Raises:
            Diverged: the loss is no number, or larger than ``explosion``; the weights are those of the step before.
        """
        with _deterministic(self.settings.deterministic):
            return self._run_step(works)

    def _run_step(self, works: Sequence[Work]) -> StepReport:
        self.model.train()
        self._optimiser.zero_grad()
        losses: list[dict[str, Tensor]] = []
        statistics: list[MatchStatistics] = []
        for work in works:
            here = work.to(self.accelerator.device)
            with self.accelerator.autocast():  # of the network alone: small differences decide matches and losses
                predictions = self.model(here.batch, here.queries, here.texts, here.objects)
            made = step_losses(predictions, here, self.settings.supervision)
            self._check(made.total.detach(), work)
            self.accelerator.backward(made.total / len(works))
            losses.append(made.parts | {"total": made.total.detach()})
            statistics += made.statistics
        rate = self._set_rate()
        finite = self._share_gradients() if self._together else False
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.optimiser.clip)
        if not torch.isfinite(norm):
            self._stop("the gradient is not finite", works[-1], not finite)
        self._optimiser.step()
        self._follow()
        self.step += 1
        mean = {name: float(torch.stack([part[name] for part in losses]).mean()) for name in losses[0]}
        return StepReport(self.step, mean, float(norm), rate, statistics)

    def weights(self) -> dict[str, Tensor]:
        """What is published, on the CPU: the running mean of the weights where one is kept, else those of the last
        step."""
        state = {name: value.detach().cpu() for name, value in self.network.state_dict().items()}
        return state | {name: value.cpu() for name, value in self._mean.items()}

    def checkpoint(self, notes: Any = None) -> bytes:
        """All that a training needs to go on, as one safetensors file with JSON in its header; notes: JSON values that
        ``restore`` gives back."""
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"mean.{name}": value for name, value in self._mean.items()}
        for name, parameter in self.network.named_parameters():
            state = self._state_of(parameter)
            tensors |= {f"{kind}.{name}": state[kind] for kind in _KINDS if kind in state}
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        return save_tensors(held, {_HEADER: json.dumps({"step": self.step, "notes": notes})})

    def restore(self, data: bytes) -> Any:
        """Goes on from a checkpoint of a training with the same settings; its notes."""
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        said = json.loads(header["__metadata__"][_HEADER])
        self.step = int(said["step"])
        tensors = load_tensors(data)
        self.network.load_state_dict(_part(tensors, "model"))
        self._mean = {name: value.to(self.accelerator.device) for name, value in _part(tensors, "mean").items()}
        kinds = {kind: _part(tensors, kind) for kind in _KINDS}
        for name, parameter in self.network.named_parameters():
            if name in kinds["exp_avg"]:
                self._inner.state[parameter] = {
                    kind: values[name].to("cpu" if kind == "step" else parameter.device)
                    for kind, values in kinds.items()
                }
        return said["notes"]

    @property
    def _inner(self) -> torch.optim.Optimizer:
        found: torch.optim.Optimizer = getattr(self._optimiser, "optimizer", self._optimiser)
        return found

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        found: dict[str, Any] = self._inner.state.get(parameter, {})
        return found

    @property
    def _ema(self) -> float | None:
        return self.settings.optimiser.ema

    def _set_rate(self) -> float:
        chosen = self.settings.optimiser
        rate = chosen.learning_rate * float((1 - self.step / self.settings.steps) ** chosen.decay_power)
        if self.step < chosen.warm_up:
            rate *= (self.step + 1) / chosen.warm_up
        for group in self._inner.param_groups:
            group["lr"] = rate
        return rate

    def _follow(self) -> None:
        """The running mean of the weights."""
        if self._ema:
            for name, parameter in self.network.named_parameters():
                self._mean[name].lerp_(parameter.detach(), 1 - self._ema)

    @property
    def _together(self) -> bool:
        return bool(self.accelerator.num_processes > 1)

    def _share_gradients(self) -> bool:
        """Each gradient becomes the mean over the processes, where one that did not use the parameter counts as 0; a
        parameter that none used has none and rests, as in a training by one process. Whether this one's are finite."""
        parameters = list(self.network.parameters())
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=self.accelerator.device)
        given = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([used, *(gradient.flatten() for gradient in given)])
        anywhere, *means = self.accelerator.reduce(flat, "mean").split([len(used), *(p.numel() for p in parameters)])
        for parameter, mean, known in zip(parameters, means, anywhere.tolist(), strict=True):
            parameter.grad = mean.view_as(parameter) if known else None
        return bool(flat.isfinite().all())

    def _check(self, total: Tensor, work: Work) -> None:
        """total () is this process's; all stop for the mean, lest one waits for the others."""

        def fine(value: float) -> bool:
            return abs(value) <= self.settings.optimiser.explosion  # not for nan

        values = self.accelerator.gather(total).reshape(-1).tolist() if self._together else [float(total)]
        if not fine(sum(values) / len(values)):
            self._stop(f"the loss is {float(total):g}", work, not fine(float(total)))

    def _stop(self, what: str, work: Work, here: bool) -> None:
        raise Diverged(
            f"The training stopped at step {self.step + 1}: {what}, on {', '.join(work.scene_ids)}. Take a smaller "
            "--learning-rate, or look at these scenes.",
            _saved(work),
            here,
        )


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Inside, sums are taken in one order: also on a CPU, several threads would add to one place as they come."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name[len(kind) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{kind}.")}


def _saved(work: Work) -> bytes:
    """All that the step's loss follows from, as safetensors: the network's input by name, voxels (M,4) int32 scene, x,
    y, z among it, superpoints and objects_of (B,) int64; the scenes' targets, pairs, queries, objects and texts by
    place."""
    batch, margin = work.batch, torch.tensor([0, MARGIN, MARGIN, MARGIN], dtype=torch.int32)
    more = {
        "voxels": batch.pyramid.levels[0].keys.rows() - margin,
        "superpoints": torch.tensor(batch.superpoints),
        "objects_of": torch.tensor(batch.objects_of),
    }
    parts: dict[str, Any] = {"batch": vars(batch) | more}
    for place in range(len(work.scene_ids)):
        parts |= {f"targets.{place}": vars(work.targets[place]), f"pairs.{place}": vars(work.pairs[place])}
    for name in ("queries", "objects", "texts"):
        parts[name] = {str(place): tensor for place, tensor in enumerate(getattr(work, name))}
    tensors = {
        f"{part}.{name}": value.contiguous().clone()  # one scene may be there twice
        for part, record in parts.items()
        for name, value in record.items()
        if isinstance(value, Tensor)
    }
    return save_tensors(tensors, {"scenes": json.dumps(work.scene_ids)})
