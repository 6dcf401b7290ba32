"""The training run itself: TRL's SFTTrainer with PEFT's LoRA, checkpoints by the clock, and the export.

Only tuning/training/lora.py calls `train`. Importing this module imports torch, transformers, peft and trl.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import torch
import transformers.utils.logging
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from storage.manifest import is_complete, read_manifest, write_manifest
from tuning.adapters import CONFIG, WEIGHTS
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.training.batches import IGNORED, encode_rows, training_order
from tuning.training.precision import Precision, choose_precision
from tuning.training.recipe import LoraRecipe, TrainProgress

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "safetensors", "tokenizers")

_LOSS_WINDOW = 10
# Scores of one layer are rows x heads x length x length; beyond this length their memory outweighs what they save.
_EAGER_UP_TO_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the folder with the two adapter files, and what was measured."""

    folder: Path
    num_rows: int
    num_dropped: int
    num_tokens: int
    num_steps: int
    training_s: float
    loss_curve: tuple[float, ...]
    precision: Precision
    device: str

    @property
    def final_loss(self) -> float:
        """Mean loss per completion token over the last ten steps."""
        return sum(self.loss_curve[-_LOSS_WINDOW:]) / len(self.loss_curve[-_LOSS_WINDOW:])


def train(
    *,
    base_path: str,
    base_name: str,
    base_revision: str,
    rows: Sequence[TrainingRow],
    recipe: LoraRecipe,
    folder: Path,
    progress: Callable[[TrainProgress], None] | None,
    checkpoint_every_s: float,
    started: float,
) -> Trained:
    """Train in `folder`, from its last complete checkpoint if there is one, and export the adapter to `folder`/adapter.

    `started` is the `time.monotonic()` from which `training_s` counts; the seconds up to a checkpoint count too.
    """
    with _quiet(), _plain_memory_errors(recipe):
        tokenizer = _load(AutoTokenizer, base_path)
        encoded, num_dropped = encode_rows(tokenizer, rows, max_length=recipe.max_length)
        lengths = [row.num_tokens for row in encoded]
        order = training_order(lengths, epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed)
        precision = choose_precision()
        # SDPA's CPU kernel takes as long as all matrix products together in its backward pass on short bfloat16 rows:
        # 626 tokens/s against 772 with plain matrix products (64 tokens a row), 860 against 907 with 256.
        is_eager = _device() == "cpu" and precision == "bf16" and max(lengths) <= _EAGER_UP_TO_TOKENS
        model = _lora_model(base_path, recipe, precision, attention="eager" if is_eager else "sdpa")
        dataset = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in encoded])
        checkpoint, elapsed_s = _last_checkpoint(folder)
        watch = _Watch(
            num_tokens=[sum(lengths[i] for i in batch) for batch in _groups(order, recipe.batch_size)],
            progress=progress,
            checkpoint_every_s=checkpoint_every_s,
            started=started - elapsed_s,
        )
        trainer = CompletionTrainer(
            model=model,
            args=_arguments(recipe, folder, precision),
            train_dataset=dataset.select(order, keep_in_memory=True),
            processing_class=tokenizer,
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        # PEFT would cast every input to the float32 of its weights, and autocast it back: 892 -> 996 tokens/s without.
        with disable_input_dtype_casting(model, active=precision == "bf16"):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        exported = _export(model, folder / "adapter", base_name, base_revision)
        curve = tuple(float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
        # The base model and its activations are not needed while an engine starts beside this process.
        del trainer, model
        gc.collect()
    return Trained(
        folder=exported,
        num_rows=len(encoded),
        num_dropped=num_dropped,
        num_tokens=sum(lengths[i] for i in order),
        num_steps=len(curve),
        training_s=time.monotonic() - started + elapsed_s,
        loss_curve=curve,
        precision=precision,
        device=_device(),
    )


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that, on a CPU, runs the model's head on the completions only.

    TRL 1.16 does so where Triton runs (CUDA, XPU), and elsewhere scores every position against the whole vocabulary, in
    the forward and again in the backward pass.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy of the batch's completion tokens."""
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return completion_loss(model, inputs, num_items_in_batch)


def completion_loss(model: Any, inputs: dict[str, Any], num_tokens: Any = None) -> torch.Tensor:
    """Cross entropy summed over the tokens whose label is not IGNORED, divided by their number (or by `num_tokens`).

    `inputs` holds input_ids, attention_mask and labels, each (rows, length) of integers; the head runs on the positions
    that precede such a token in any of the rows.
    """
    targets = inputs["labels"][:, 1:]
    is_scored = targets != IGNORED
    kept = is_scored.any(dim=0).nonzero().squeeze(-1)
    logits = model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=kept, use_cache=False
    ).logits
    is_scored = is_scored[:, kept]
    total = cross_entropy(logits[is_scored].float(), targets[:, kept][is_scored], reduction="sum")
    mean: torch.Tensor = total / (is_scored.sum() if num_tokens is None else num_tokens)
    return mean


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, asks for a checkpoint when the last one is old, and marks a written one as complete."""

    def __init__(
        self,
        *,
        num_tokens: Sequence[int],
        progress: Callable[[TrainProgress], None] | None,
        checkpoint_every_s: float,
        started: float,
    ) -> None:
        self.progress = progress
        self._num_tokens = num_tokens
        self._checkpoint_every_s = checkpoint_every_s
        self._started = started
        self._first_step = 0
        self._begun = self._saved = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._first_step = state.global_step
        self._begun = self._saved = time.monotonic()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self._saved >= self._checkpoint_every_s:
            control.should_save = True

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_manifest(checkpoint, {"elapsed_s": time.monotonic() - self._started, "packages": package_versions()})
        self._saved = time.monotonic()

    def on_log(self, args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return  # the summary after the last step
        losses = [entry["loss"] for entry in state.log_history[-_LOSS_WINDOW:]]
        if not math.isfinite(losses[-1]):
            raise TuningError(
                f"the loss became {losses[-1]} at step {state.global_step}; lower learning_rate ({args.learning_rate})"
            )
        if self.progress is None:
            return
        step, seconds = state.global_step, time.monotonic() - self._begun
        tokens_per_s = sum(self._num_tokens[self._first_step : step]) / seconds
        num_left = sum(self._num_tokens[step:])
        self.progress(
            TrainProgress(
                step=step,
                num_steps=len(self._num_tokens),
                loss=sum(losses) / len(losses),
                tokens_per_s=tokens_per_s,
                seconds_left=num_left / tokens_per_s if step - self._first_step > 1 else None,
            )
        )


def package_versions() -> dict[str, str]:
    """Installed versions of what decides the weights."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _arguments(recipe: LoraRecipe, folder: Path, precision: Precision) -> Any:
    on_cpu = _device() == "cpu"
    if not on_cpu and torch.cuda.device_count() > 1:
        raise TuningError("several GPUs are visible and one is trained on; choose it with CUDA_VISIBLE_DEVICES=0")
    return SFTConfig(
        output_dir=str(folder),
        # The dataset holds all epochs in their order, so that a resumed training skips what was seen and goes on.
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup_fraction,
        optim="adamw_torch_fused",
        weight_decay=0.0,
        seed=recipe.seed,
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


def _lora_model(base_path: str, recipe: LoraRecipe, precision: Precision, *, attention: str) -> PeftModel:
    # Under autocast the products are rounded to bfloat16 anyway; weights that lie so need no cast in every step
    # (765 -> 860 tokens/s) and half the memory.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = _load(AutoModelForCausalLM, base_path, dtype=dtype, attn_implementation=attention)
    set_seed(recipe.seed)  # the LoRA matrices A are drawn at random
    targets = recipe.target_modules
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = sorted(
            {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if hasattr(part, "in_features")}
        )
        raise TuningError(
            f"target_modules {targets!r} do not fit the base model, which has {', '.join(names)}"
        ) from error


def _load(loader: Any, base_path: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(base_path, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TuningError(f"cannot load the base model in {base_path!r}: {reason}; check the folder") from error


def _last_checkpoint(folder: Path) -> tuple[Path | None, float]:
    """The newest complete checkpoint of these package versions and the seconds spent up to it; others are removed."""
    usable: dict[int, tuple[Path, float]] = {}
    for path in folder.glob("checkpoint-*"):
        manifest = read_manifest(path) if is_complete(path) else {}
        if manifest.get("packages") == package_versions():
            usable[int(path.name.rpartition("-")[2])] = (path, float(manifest["elapsed_s"]))
        else:
            shutil.rmtree(path)
    return usable[max(usable)] if usable else (None, 0.0)


def _export(model: PeftModel, folder: Path, base_name: str, base_revision: str) -> Path:
    """The two files that plain PEFT and vLLM load, the same bytes for the same weights wherever they were trained."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / CONFIG).read_bytes())
    # PEFT writes this machine's path to the base model, and its sets in the order of the process's hash seed.
    config |= {"base_model_name_or_path": base_name, "revision": base_revision}
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
    return folder


def _groups(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _plain_memory_errors(recipe: LoraRecipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
            raise TuningError(
                f"out of memory; lower batch_size ({recipe.batch_size}) or max_length ({recipe.max_length})"
            ) from error
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, notes or usage reports of the libraries: the progress callback tells all there is."""
    log, hub = transformers.utils.logging, huggingface_hub.constants
    verbosity, has_bars, is_silent = log.get_verbosity(), log.is_progress_bar_enabled(), hub.HF_HUB_DISABLE_TELEMETRY
    loggers = [logging.getLogger(name) for name in ("trl", "peft", "accelerate", "datasets")]
    levels = [logger.level for logger in loggers]
    log.set_verbosity_error()
    log.disable_progress_bar()
    hub.HF_HUB_DISABLE_TELEMETRY = True
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        if has_bars:
            log.enable_progress_bar()
        hub.HF_HUB_DISABLE_TELEMETRY = is_silent
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
