"""In the place of a training's process: `python trainer.py STAGE FOLDER FD PLAN`, where PLAN is a JSON object.

It imports nothing of the project and starts in milliseconds. `steps` is how many a training has, `pause_s` how long one
takes, but of a job that is called quick; every step is a checkpoint. `die_at` is a step after which it kills itself,
`deaths` times; `crash` makes it end with a traceback, `fail` with that message. A row that says BAD is refused.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path


def check(task: dict, folder: Path, channel: Connection, plan: dict) -> None:
    rows = {}
    for part, name in task["files"].items():
        rows[part] = (folder / part / name).read_text().splitlines()
        for line, row in enumerate(rows[part], start=1):
            if "BAD" in row:
                message = f"{name}: 1 faulty row: line {line}: it is bad"
                channel.send({"kind": "failed", "code": f"invalid_{part}", "param": part, "message": message})
                return
        (folder / f"{part}.rows").write_text("\n".join(rows[part]))
    recipe = {"epochs": 3.0, "batch_size": 4, "learning_rate": 0.001}
    recipe = {name: value if value is not None else recipe.get(name) for name, value in task["recipe"].items()}
    counts = {"num_rows": len(rows["training_file"]), "num_validation_rows": len(rows.get("validation_file", []))}
    channel.send({"kind": "checked", "recipe": recipe, "notes": plan.get("notes", []), **counts})


def train(task: dict, folder: Path, channel: Connection, plan: dict) -> None:
    name, files = weights(task, folder)
    if (Path(task["adapters"]) / name).exists():
        channel.send({"kind": "trained", "adapter": name, "was_there": True})
        return
    place, deaths = folder / "step", folder / "deaths"
    begun = int(place.read_text()) if place.exists() else 0
    num_steps = plan.get("steps", 3)
    channel.send({"kind": "forecast", "seconds": 60.0, "memory_bytes": 5 * 10**8})
    is_looked_at = (folder / "validation_file.rows").exists()
    score = {"supervised": "valid_exact_match", "dpo": "valid_reward_accuracy"}[task["objective"]]
    for step in range(begun + 1, num_steps + 1):
        looks = [{"step": 0, "valid_loss": 4.0, score: 0.0}] if is_looked_at and step == begun + 1 else []
        if is_looked_at and step % 2 == 0:
            looks.append({"step": step, "valid_loss": 2 / step, score: 0.5})
        told = {
            "kind": "step",
            "step": step,
            "num_steps": num_steps,
            "train_loss": 1 / step,
            "num_tokens": 10 * step,
            "seconds_left": plan.get("pause_s", 0) * (num_steps - step),
            "looks": looks,
            "checkpoint": step - 1,
        }
        with (folder / "steps.jsonl").open("a") as file:
            file.write(f"\n{json.dumps(told)}")
        channel.send(told)
        place.write_text(str(step))
        num_died = len(deaths.read_text()) if deaths.exists() else 0
        if step == plan.get("die_at") and num_died < plan.get("deaths", 1):
            deaths.write_text("x" * (num_died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(plan.get("pause_s", 0) if task["name"] != "quick" else 0)
    if plan.get("crash"):
        raise RuntimeError("the trainer has a fault")
    if plan.get("fail"):
        channel.send({"kind": "failed", "code": "train_failed", "param": None, "message": plan["fail"]})
        return
    publish(task, name, files, num_steps, is_looked_at)
    channel.send({"kind": "trained", "adapter": name, "was_there": False})


def weights(task: dict, folder: Path) -> tuple[str, dict[str, bytes]]:
    """An adapter's name and files: its weights are the rows and the seed."""
    rows = (folder / "training_file.rows").read_bytes()
    files = {
        "adapter_config.json": json.dumps({"r": task["recipe"].get("rank") or 16}).encode(),
        "adapter_model.safetensors": rows + str(task["recipe"]["seed"]).encode(),
    }
    return f"{task['name']}@{content_hash(*hashed(files).values())[:8]}", files


def publish(task: dict, name: str, files: dict[str, bytes], num_steps: int, is_looked_at: bool) -> None:
    final = Path(task["adapters"]) / name
    template = json.loads(Path(task["base"]["path"], "tokenizer_config.json").read_bytes())["chat_template"]
    draft = final.with_name(f".{name}.draft-{os.getpid()}")
    draft.mkdir(parents=True)
    for file, content in files.items():
        (draft / file).write_bytes(content)
    losses = [1 / step for step in range(1, num_steps + 1)]
    looks = [{"step": step, "score": 0.5, "loss": 2 / step, "guard": None} for step in range(2, num_steps + 1, 2)]
    manifest = {
        "name": name,
        "base_name": task["base"]["name"],
        "base_revision": task["base"]["revision"],
        "chat_template_hash": content_hash(template)[:16],
        "recipe_hash": "recipe",
        "objective": task["objective"],
        "num_rows": 1,
        "num_dropped": 0,
        "num_tokens": 10 * num_steps,
        "training_s": 1.0,
        "final_loss": losses[-1],
        "loss_curve": losses,
        "looks": looks if is_looked_at else [],
        "provenance": task["provenance"],
        "files": hashed(files),
    }
    (draft / "manifest.json").write_text(json.dumps(manifest))
    draft.rename(final)


def hashed(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def content_hash(*parts: str) -> str:
    """As storage/hashes.py has it."""
    return hashlib.sha256(b"".join(len(p.encode()).to_bytes(8, "big") + p.encode() for p in parts)).hexdigest()


def end_with(channel: Connection) -> None:
    try:
        channel.recv()
    except (EOFError, OSError):
        os._exit(1)


def main() -> None:
    stage, folder, descriptor, plan = sys.argv[1:]
    channel = Connection(int(descriptor))
    threading.Thread(target=end_with, args=(channel,), daemon=True).start()
    task = json.loads(Path(folder, "task.json").read_bytes())
    {"check": check, "train": train}[stage](task, Path(folder), channel, json.loads(plan))


if __name__ == "__main__":
    main()
