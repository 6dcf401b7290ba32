"""The training run itself: TRL's SFTTrainer on what a method moves, with the loss of an objective.

Only tuning/training/run.py calls `train`. Importing this module imports torch, transformers, peft and trl.
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from transformers import AutoTokenizer, PrinterCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTConfig, SFTTrainer

from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, save_adapter
from tuning.export.gate import open_gate
from tuning.export.opening import open_exported
from tuning.look import Measured, Published
from tuning.methods.registry import METHODS
from tuning.optimizers.registry import OPTIMIZERS, Course
from tuning.recipe import IGNORED, CheckRows, EncodedRow, Loss, Objective, Occasion, Prepared, Recipe
from tuning.training.batches import encode_rows, training_order
from tuning.training.forecast import Batches, foretell, peak_bytes
from tuning.training.libraries import package_versions, plain_memory_errors, quiet
from tuning.training.loading import Precision, choose_precision, device, load_base, load_pretrained
from tuning.training.looks import TRAINED, Looks
from tuning.training.measuring import make_measure, padded
from tuning.training.parts import Parts, open_parts, parts_of
from tuning.training.progress import Forecast, TrainProgress
from tuning.training.sharing import agrees
from tuning.training.start import load_start
from tuning.training.watch import LOSS_WINDOW, Watch, last_checkpoint
from tuning.training.weights import load_trained, refuse_unfit_mean, save_trained

# Rows that the exported adapter is compared on.
_GATE_ROWS = 4


def train(
    *,
    base: ResolvedModel,
    rows: Sequence[TrainingRow],
    recipe: Recipe,
    objective: Objective,
    folder: Path,
    progress: Callable[[TrainProgress], None],
    checkpoint_every_s: float,
    started: float,
    checks: Sequence[CheckRows] = (),
    start: Adapter | None = None,
    foretold: Callable[[Forecast], None] = lambda _: None,
) -> dict[str, object]:
    """Train in `folder`, from its last complete checkpoint if there is one, and export the adapter to `folder`/adapter.

    Gives what was measured, as the adapter's manifest tells it. `started` is the `time.monotonic()` from which
    `training_s` counts; the seconds up to a checkpoint count too. With `checks`, dev rows and perhaps guard rows, the
    training is looked at while it goes on, as the recipe says. It begins with the weights of `start`, if there is one.
    `foretold` is told before the first step what the training will take.
    """
    optimizer = OPTIMIZERS[recipe.optimizer]
    if obstacle := optimizer.obstacle():
        raise TuningError(obstacle)
    remedy = f"lower max_length ({recipe.max_length})"
    if recipe.accumulate < recipe.batch_size and not optimizer.in_backward:
        more = next(n for n in range(recipe.accumulate + 1, recipe.batch_size + 1) if recipe.batch_size % n == 0)
        remedy = f"raise accumulate to {more}, which changes nothing else, or {remedy}"
    with quiet(), plain_memory_errors(remedy):
        tokenizer = load_pretrained(AutoTokenizer, base.path)
        encoded, num_dropped = encode_rows(tokenizer, rows, objective, max_length=recipe.max_length)
        lengths = [row.num_tokens for row in encoded]
        order = training_order(lengths, epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed)
        precision = choose_precision()
        method = METHODS[recipe.method]
        beginning = str(start.path) if start is not None and start.form == "merged" else base.path
        plain = load_base(beginning, precision, longest=max(lengths), is_exact=method.moves_base)
        occasion = Occasion(
            batches=lambda rows, count: _first_batches(encoded, order, rows, count, tokenizer.pad_token_id or 0),
            num_steps=math.ceil(len(order) / recipe.batch_size),
        )
        set_seed(recipe.seed % 2**32)  # as numpy takes it; a method draws its first weights at random
        prepared = method.prepare(plain, recipe, occasion)
        if start is not None and start.form == "lora":
            load_start(prepared, start)
        model = prepared.model
        assert (prepared.optimizer is not None) == recipe.own_optimizer
        assert (prepared.on_step is not None) == recipe.acts_after_steps
        prepared.optimizer = prepared.optimizer or _maker(model, recipe, occasion.num_steps)
        dataset = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in encoded])
        packages = package_versions(recipe.optimizer)
        checkpoint = last_checkpoint(folder, packages)
        elapsed_s = checkpoint.elapsed_s if checkpoint is not None else 0.0
        starts = range(0, len(order), recipe.batch_size)
        looks = None
        if checks:
            refuse_unfit_mean(prepared, recipe)
            looks = Looks(
                recipe=recipe,
                folder=folder,
                steps_per_epoch=len(encoded) / recipe.batch_size,
                num_steps=len(starts),
                measure=_measuring(checks, tokenizer, objective),
            )
            if checkpoint is not None and checkpoint.looks is not None:
                looks.restore(checkpoint.looks)
        watch = Watch(
            num_tokens=[sum(lengths[i] for i in order[start : start + recipe.batch_size]) for start in starts],
            progress=progress,
            checkpoint_every_s=checkpoint_every_s,
            started=started - elapsed_s,
            looks=looks,
            packages=packages,
            learning_rate=recipe.learning_rate,
            on_step=prepared.on_step,
        )
        with contextlib.ExitStack() as stack:
            # Parts side by side need the same weights to the end of the backward pass.
            is_whole = device() != "cpu" or _has_dropout(model) or recipe.neftune_alpha > 0 or optimizer.in_backward
            trainer = ObjectiveTrainer(
                objective,
                prepared,
                None if is_whole else stack.enter_context(open_parts(recipe.batch_size // recipe.accumulate)),
                model=model,
                args=_arguments(recipe, folder, precision, len(starts)),
                train_dataset=dataset.select(order, keep_in_memory=True),
                processing_class=tokenizer,
                callbacks=[watch],
            )
            trainer.remove_callback(PrinterCallback)
            # PEFT would cast every input to the float32 of its weights, and autocast it back: 892 -> 996 tokens/s
            # without.
            stack.enter_context(disable_input_dtype_casting(model, active=precision == "bf16"))
            first = [encoded[place] for place in order[: recipe.batch_size // recipe.accumulate]]
            # A GPU takes TRL's own loss.
            is_shared = not is_whole and trainer.share_prefixes(first)
            forecast = trainer.foretell(encoded, order, recipe, first_step=0 if checkpoint is None else checkpoint.step)
            foretold(forecast)
            if checkpoint is not None and looks is not None and looks.ended:
                trainer.take_up(checkpoint.path)
            else:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path))
                trainer.optimizer.eval()  # an averaging one puts its mean in the weights' place
        looked = {} if looks is None else _take_chosen(looks, prepared)
        peak = peak_bytes()
        gate = open_gate(model, [row.input_ids for row in encoded[:_GATE_ROWS]])
        save_adapter(partial(method.export, prepared, recipe), folder / "adapter", base, method.form)
        curve = [loss for entry in trainer.state.log_history if math.isfinite(loss := entry.get("loss", math.nan))]
        # The base model and its activations are not needed while an engine starts beside this process.
        del trainer, model, plain, prepared, watch
        gc.collect()

        def open_as(path: str) -> Any:
            return load_base(path, precision, longest=max(lengths), is_exact=method.moves_base)

        parity = gate.check(
            partial(open_as, base.path),
            lambda plain: open_exported(method.form, plain, folder / "adapter", open_as),
            name=recipe.method,
        )
    return {
        "num_rows": len(encoded),
        "num_dropped": num_dropped,
        "num_tokens": sum(lengths[i] for i in order),
        "num_steps": len(curve),
        "training_s": time.monotonic() - started + elapsed_s,
        "loss_curve": curve,
        "final_loss": statistics.fmean(curve[-LOSS_WINDOW:]),
        "precision": precision,
        "shares_prefix": is_shared,
        "parity": asdict(parity),
        "forecast": asdict(forecast),
        "peak_memory_bytes": peak,
        **looked,
        "device": device(),
    }


class ObjectiveTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with the loss of an objective in place of its own, which is slow where Triton does not run, and with
    what a method brings: an optimizer, a penalty, something to do after every step.

    On a CPU a batch is worked on in parts, side by side (tuning/training/parts.py). A checkpoint holds every weight
    that moves and the method's own state: PEFT's would lack what is no LoRA.
    """

    optimizer: Any

    def __init__(self, objective: Objective, prepared: Prepared, parts: Parts | None, **options: Any) -> None:
        super().__init__(**options)
        self._objective = objective
        self._loss = objective.loss
        self._prepared = prepared
        self._parts = parts
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward; gives the batch's loss."""
        if self._parts is None:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        model.train()
        self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        count = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = self._parts.add_gradients(inputs, self._parameters, lambda part: self._loss(model, part, count))
        if self._prepared.penalty is not None:
            penalty = self._prepared.penalty() / self.current_gradient_accumulation_steps
            penalty.backward()
            loss += penalty.detach()
        return loss

    def share_prefixes(self, rows: Sequence[EncodedRow]) -> bool:
        """Let the rows of a batch share the tokens with which they begin, if the model answers the same then: tried on
        these rows. Not for a forward pass that draws random numbers, which are other ones for each row.
        """
        if self._objective.shared_loss is None or len(rows) < 2:
            return False
        self.model.train()
        batch = padded(rows, self.processing_class.pad_token_id or 0, device())
        plain, shared = self._cast(self._objective.loss), self._cast(self._objective.shared_loss)
        if not agrees(plain, shared, self._parameters, batch, is_bf16=self.args.bf16):
            return False
        self._loss = self._objective.shared_loss
        return True

    def _cast(self, loss: Loss) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
        """A loss of a batch before the training, which begins with casting the model: a thread's own matter."""

        def found(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            with torch.autocast(device(), torch.bfloat16, enabled=self.args.bf16):
                return loss(self.model, batch, None)

        return found

    def foretell(
        self, rows: Sequence[EncodedRow], order: Sequence[int], recipe: Recipe, *, first_step: int
    ) -> Forecast:
        """What the training of these rows in this order will take from a step on; the weights stay as they are."""
        size, padding, prepared = recipe.batch_size, self.processing_class.pad_token_id or 0, self._prepared
        groups = [order[start : start + size] for start in range(0, len(order), size)]

        def inputs_of(places: Sequence[int]) -> dict[str, torch.Tensor]:
            return padded([rows[place] for place in places], padding, device())

        def loss_of(part: dict[str, torch.Tensor]) -> torch.Tensor:
            loss = self._cast(self._loss)(part)
            return loss if prepared.penalty is None else loss + prepared.penalty()

        def step(inputs: dict[str, torch.Tensor]) -> None:
            self.model.train()
            for part in parts_of(inputs, size // recipe.accumulate):
                if hasattr(optimizer, "fused_backward"):
                    optimizer.fused_backward(loss_of(part), 0.0)
                elif self._parts is None:
                    torch.autograd.backward(loss_of(part))
                else:
                    self._parts.add_gradients(part, self._parameters, loss_of)

        batches = Batches(
            num_tokens=[len(group) * max(rows[place].num_tokens for place in group) for group in groups],
            open=lambda step: inputs_of(groups[step]),
            longest_row=inputs_of([max(range(len(rows)), key=lambda place: rows[place].num_tokens)]),
        )
        optimizer = self.create_optimizer()
        self.optimizer = None
        if hasattr(optimizer, "train"):  # schedule-free makes no step without
            optimizer.train()
        found = foretell(step, optimizer, batches, recipe, first_step=first_step)
        if hasattr(optimizer, "fused_backward"):  # its hooks stay on the weights, and find none from now on
            optimizer.model = torch.nn.ParameterList()
        return found

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss of the batch's labels."""
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        else:
            found = self._loss(model, inputs, num_items_in_batch)
        if self._prepared.penalty is None or return_outputs:
            return found
        return found + self._prepared.penalty() / self.current_gradient_accumulation_steps

    def create_optimizer(self, model: Any = None) -> Any:
        """The method's own or the recipe's, or transformers' AdamW."""
        if self._prepared.optimizer is None:
            return super().create_optimizer(model)
        if self.optimizer is None:
            self.optimizer = self._prepared.optimizer(self.args.learning_rate)
        return self.optimizer

    def take_up(self, checkpoint: Path) -> None:
        """The weights and the history of a training that had ended there."""
        load_trained(self._prepared, checkpoint / TRAINED)
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002  # the library's
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_trained(self._prepared, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        load_trained(self._prepared, Path(resume_from_checkpoint) / TRAINED)


def _measuring(checks: Sequence[CheckRows], tokenizer: Any, objective: Objective) -> Callable[[Any], Measured]:
    of_dev, *of_guard = (make_measure(rows, tokenizer, objective) for rows in checks)

    def measure(model: Any) -> Measured:
        score, loss = of_dev(model)
        return Measured(score, loss if math.isfinite(loss) else None, *(one(model)[0] for one in of_guard))

    return measure


def _take_chosen(looks: Looks, prepared: Prepared) -> dict[str, object]:
    """Put the weights to publish into the model; gives what the manifest tells of the looks."""
    chosen = looks.chosen()
    if chosen:
        load_trained(prepared, *map(looks.weights_of, chosen))
    shown = chosen[0] if len(chosen) == 1 else looks.taken[-1] if not chosen else looks.measure(prepared.model)
    steps = tuple(look.step for look in chosen or looks.taken[-1:])
    return {
        "looks": [asdict(look) for look in looks.taken],
        "published": asdict(Published(steps, shown.score, shown.loss, shown.guard)),
        "ended": looks.ended,
    }


def _has_dropout(model: Any) -> bool:
    """Whether a forward pass draws random numbers: from one generator, in an order that threads would change."""
    drops = (part.p for part in model.modules() if isinstance(part, torch.nn.Dropout))
    return any(drops) or bool(getattr(model.config, "attention_dropout", 0.0))


def _first_batches(
    rows: Sequence[EncodedRow], order: Sequence[int], size: int, count: int, padding: int
) -> list[dict[str, torch.Tensor]]:
    """The first batches of a training, of so many rows each."""
    starts = range(0, min(len(order), size * count), size)
    return [padded([rows[place] for place in order[start : start + size]], padding, device()) for start in starts]


def _maker(model: Any, recipe: Recipe, num_steps: int) -> Callable[[float], Any] | None:
    """What makes the recipe's optimizer, given its learning rate; None for AdamW."""
    make = OPTIMIZERS[recipe.optimizer].make
    if make is None:
        return None

    def optimizer(learning_rate: float) -> Any:
        warmup_steps = math.ceil(recipe.warmup_fraction * num_steps)
        course = Course(learning_rate, num_steps, warmup_steps, recipe.optimizer_rank)
        return make(model, course)

    return optimizer


def _arguments(recipe: Recipe, folder: Path, precision: Precision, num_steps: int) -> Any:
    on_cpu, optimizer = device() == "cpu", OPTIMIZERS[recipe.optimizer]
    if not on_cpu and torch.cuda.device_count() > 1:
        raise TuningError("several GPUs are visible and one is trained on; choose it with CUDA_VISIBLE_DEVICES=0")
    return SFTConfig(
        output_dir=str(folder),
        # The dataset holds all epochs in their order, so that a resumed training skips what was seen and goes on.
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        per_device_train_batch_size=recipe.batch_size // recipe.accumulate,
        gradient_accumulation_steps=recipe.accumulate,
        neftune_noise_alpha=recipe.neftune_alpha or None,
        learning_rate=recipe.learning_rate * optimizer.rate_factor,
        # An averaging optimizer warms up by itself, and does not slow down.
        lr_scheduler_type="constant" if optimizer.averages else "linear",
        # The first step of a warm-up moves nothing, which would be all of a training of one step.
        warmup_steps=recipe.warmup_fraction if num_steps > 1 and not optimizer.averages else 0,
        optim=recipe.optimizer if optimizer.in_backward else "adamw_torch_fused",
        weight_decay=0.0,
        seed=recipe.seed % 2**32,
        bf16=precision == "bf16",
        use_cpu=on_cpu,
        gradient_checkpointing=False,
        dataloader_pin_memory=not on_cpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )
