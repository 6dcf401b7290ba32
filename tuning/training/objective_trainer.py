"""TRL's SFTTrainer with the loss of an objective, on what a method moves: `open_trainer(plan, prepared, ...)`."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from transformers import PrinterCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTConfig, SFTTrainer

from tuning.errors import TuningError
from tuning.methods.registry import METHODS
from tuning.objectives.objective import Batch, EncodedRow, Loss, ObjectiveSettings, Whole
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.texts import WORTH_SHARING
from tuning.optimizers.registry import OPTIMIZERS, Course
from tuning.recipe import Prepared, Recipe, known
from tuning.training.answers import prompts_at_once
from tuning.training.batches import Plan
from tuning.training.drawing import Drawer
from tuning.training.forecast import Batches, foretell
from tuning.training.lessons import Lessons
from tuning.training.loading import Precision, device
from tuning.training.looks import TRAINED
from tuning.training.measuring import padded
from tuning.training.parts import Parts, open_parts, parts_of
from tuning.training.progress import Forecast
from tuning.training.sharing import agrees, num_shared
from tuning.training.watch import Watch
from tuning.training.weights import load_trained, save_trained

# What a checkpoint holds of answers that were drawn.
_DRAWN = "drawn.pt"


@contextlib.contextmanager
def open_trainer(
    plan: Plan,
    prepared: Prepared,
    recipe: Recipe,
    *,
    tokenizer: Any,
    folder: Path,
    precision: Precision,
    watch: Watch,
    drawer: Drawer | Lessons | None = None,
) -> Iterator[ObjectiveTrainer]:
    """The trainer of a plan while the block lasts; on a CPU with threads for the parts of a batch."""
    model, rows_a_part = prepared.model, known(recipe.batch_size) // recipe.accumulate
    prepared.optimizer = prepared.optimizer or _maker(model, recipe, plan.num_steps)
    columns = [{"input_ids": row.input_ids, "labels": row.labels, "place": i} for i, row in enumerate(plan.rows)]
    dataset = Dataset.from_list(columns).select(plan.order, keep_in_memory=True)
    in_backward = OPTIMIZERS[recipe.optimizer].in_backward
    # Parts side by side need the same weights to the end of the backward pass.
    is_whole = device() != "cpu" or _has_dropout(model) or recipe.neftune_alpha > 0 or in_backward
    with contextlib.ExitStack() as stack:
        trainer = ObjectiveTrainer(
            recipe.objective,
            prepared,
            None if is_whole else stack.enter_context(open_parts(rows_a_part)),
            drawer,
            model=model,
            args=_arguments(recipe, folder, precision, plan.num_steps),
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        # PEFT would cast every input to the float32 of its weights, and autocast it back: 892 -> 996 tokens/s
        # without.
        stack.enter_context(disable_input_dtype_casting(model, active=precision == "bf16"))
        if plan.rows[0].others or drawer is not None:
            trainer.take_whole_rows(plan.rows)
        # A GPU takes TRL's own loss. What stands before the text in another way than as tokens is not shared.
        if not is_whole and METHODS[recipe.method].form in ("lora", "merged"):
            trainer.share_prefixes([rows[:rows_a_part] for rows in plan.steps])
        yield trainer


class ObjectiveTrainer(SFTTrainer):  # type: ignore[misc]  # the library has no types
    """SFTTrainer with the loss of an objective in place of its own, which is slow where Triton does not run, and with
    what a method brings: an optimizer, a penalty, something to do after every step.

    On a CPU a batch is worked on in parts, side by side (tuning/training/parts.py). A checkpoint holds every weight
    that moves and the method's own state: PEFT's would lack what is no LoRA.
    """

    optimizer: Any

    def __init__(
        self,
        numbers: ObjectiveSettings,
        prepared: Prepared,
        parts: Parts | None,
        drawer: Drawer | Lessons | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._drawer = drawer
        self._numbers = numbers
        self._objective = OBJECTIVES[numbers.name]
        self._loss = self._objective.loss
        self._is_trl_s = self._objective.is_trl_s and device() != "cpu"
        if not self._is_trl_s:  # a loss knows of the whole step
            self.loss_is_scaled_for_ga = True
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
        whole = num_items_in_batch
        loss = self._parts.add_gradients(
            inputs, self._parameters, lambda part: self._loss(model, part, whole, self._numbers)
        )
        if self._prepared.penalty is not None:
            penalty = self._prepared.penalty() / self.current_gradient_accumulation_steps
            penalty.backward()
            loss += penalty.detach()
        return loss

    def take_whole_rows(self, rows: Sequence[EncodedRow]) -> None:
        """Make batches of all that the rows hold, where TRL's hold the first text of each."""
        self.args.remove_unused_columns = False
        self.data_collator = lambda features: self._batch([rows[one["place"]] for one in features], "cpu")

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Batch], Any]:
        """The parts of a step, and what each needs to know of all of them; answers are drawn now."""
        if self._drawer is None:
            return super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[no-any-return]
        parts = self._drawer.draw([*itertools.islice(epoch_iterator, num_batches)], self.state.global_step)
        return parts, self._whole(parts)

    def log(self, logs: dict[str, float], *given: Any) -> None:
        """What is told of a step, of what was drawn for it, too."""
        told = self._drawer.told if self._drawer is not None and "loss" in logs else {}
        super().log({**logs, **told}, *given)

    def _batch(self, rows: Sequence[EncodedRow], device: str) -> Batch:
        batch = padded(rows, self.processing_class.pad_token_id or 0, device)
        if self._drawer is not None:
            batch["place"] = torch.tensor([row.place for row in rows], device=device)
        return batch

    @property
    def shares_prefix(self) -> bool:
        """Whether the rows of a batch share the tokens with which they begin."""
        return self._loss is not self._objective.loss

    def share_prefixes(self, parts: Sequence[Sequence[EncodedRow]]) -> None:
        """Let the rows of a part share the tokens with which they begin, if the model answers the same then: tried on
        the part that shares most. Not for a forward pass that draws random numbers, which are other ones for each row.
        """
        shared_loss = self._objective.shared_loss
        if shared_loss is None or num_shared(rows := max(parts, key=num_shared)) < WORTH_SHARING:
            return
        self.model.train()
        batch = padded(rows, self.processing_class.pad_token_id or 0, device())
        whole = self._whole([batch])
        plain, shared = (partial(self._cast, loss, whole=whole) for loss in (self._objective.loss, shared_loss))
        if agrees(plain, shared, self._parameters, batch, is_bf16=self.args.bf16):
            self._loss = shared_loss

    def _cast(self, loss: Loss, part: Batch, *, whole: Whole) -> torch.Tensor:
        """A loss before the training, which begins with casting the model: a thread's own matter."""
        with torch.autocast(device(), torch.bfloat16, enabled=self.args.bf16):
            return loss(self.model, part, whole, self._numbers)

    def _whole(self, parts: Sequence[Batch]) -> Whole:
        """What the loss of a part needs to know of all parts of a step."""
        with torch.autocast(device(), torch.bfloat16, enabled=self.args.bf16):
            return self._objective.whole(self.model, parts, self._numbers)

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Any:
        # The library asks for it once a step, of all its parts, and hands it on with each.
        if self._is_trl_s:
            return super()._get_num_items_in_batch(batch_samples, device)
        return self._whole(batch_samples)

    def foretell(self, plan: Plan, recipe: Recipe, *, first_step: int) -> Forecast:
        """What the training of a plan will take from a step on; the weights stay as they are."""
        prepared, steps = self._prepared, plan.steps
        longest, a_part = max(plan.rows, key=lambda row: row.length), known(recipe.batch_size) // recipe.accumulate
        in_backward = OPTIMIZERS[recipe.optimizer].in_backward

        def inputs_of(rows: Sequence[EncodedRow]) -> Batch:
            return self._batch(rows, device())

        def step(inputs: Batch) -> None:
            parts = parts_of(inputs, a_part)
            if self._drawer is not None:
                parts = self._drawer.draw_anew(parts, 0)
            whole = self._whole(parts)

            def loss_of(part: Batch) -> torch.Tensor:
                loss = self._cast(self._loss, part, whole=whole)
                return loss if prepared.penalty is None else loss + prepared.penalty()

            self.model.train()
            for part in parts:
                if in_backward:
                    optimizer.fused_backward(loss_of(part), 0.0)
                elif self._parts is None:
                    torch.autograd.backward(loss_of(part))
                else:
                    self._parts.add_gradients(part, self._parameters, loss_of)

        num_tokens = [self._num_worked(rows) for rows in steps]
        if self._drawer is None:
            tried, half, held_tokens = [longest], longest.second_half, max(num_tokens) / recipe.accumulate
        else:
            # As many as are drawn at once. Answers are learned from by `a_part` at a time, or all of a part's together.
            samples, half = self._drawer.samples, longest  # what is drawn is as long for half of a prompt
            tried = [longest] * min(prompts_at_once(samples), known(recipe.batch_size))
            learned = a_part if self._parts is not None else a_part * samples
            held_tokens = sum(row.length for row in tried) * learned / min(learned, min(len(tried), a_part) * samples)
        batches = Batches(
            num_tokens=num_tokens,
            open=lambda step: inputs_of(steps[step]),
            longest=inputs_of(tried),
            half=inputs_of([half]),
            held_tokens=held_tokens,
        )
        optimizer = self.create_optimizer()
        self.optimizer = None
        if hasattr(optimizer, "train"):  # schedule-free makes no step without
            optimizer.train()
        found = foretell(step, optimizer, batches, recipe, first_step=first_step)
        if in_backward:  # its hooks stay on the weights, and find none from now on
            optimizer.model = torch.nn.ParameterList()
        return found

    def _num_worked(self, rows: Sequence[EncodedRow]) -> int:
        """How many tokens a batch's rows are as work: with their padding, without what they share."""
        size, total = self._parts.rows if self._parts is not None else len(rows), 0
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            total += sum(len(row.texts) for row in part) * max(row.length for row in part)
            if self.shares_prefix and (shared := num_shared(part)) >= WORTH_SHARING:
                total -= (len(part) - 1) * shared
        return total

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """What a batch adds to the loss of its step."""
        if self._is_trl_s:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        else:
            found = self._loss(model, inputs, num_items_in_batch, self._numbers)
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

    def unwrap(self) -> None:
        """Take off what the library has put around the model: it would compute in bfloat16 whatever its weights are."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def take_up(self, checkpoint: Path) -> None:
        """The weights and the history of a training that had ended there."""
        load_trained(self._prepared, checkpoint / TRAINED)
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002  # the library's
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_trained(self._prepared, folder / TRAINED)
        if self._drawer is not None:
            self._drawer.save(folder / _DRAWN)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002  # the library's
        load_trained(self._prepared, Path(resume_from_checkpoint) / TRAINED)
        if self._drawer is not None:
            self._drawer.take_up(Path(resume_from_checkpoint) / _DRAWN)


def _has_dropout(model: Any) -> bool:
    """Whether a forward pass draws random numbers: from one generator, in an order that threads would change."""
    drops = (part.p for part in model.modules() if isinstance(part, torch.nn.Dropout))
    return any(drops) or bool(getattr(model.config, "attention_dropout", 0.0))


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
        per_device_train_batch_size=known(recipe.batch_size) // recipe.accumulate,
        gradient_accumulation_steps=recipe.accumulate,
        neftune_noise_alpha=recipe.neftune_alpha or None,
        learning_rate=known(recipe.learning_rate) * optimizer.rate_factor,
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
