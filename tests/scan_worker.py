"""Stands for the process of a trial: figures from the changes alone, at once; files beside the card make trouble."""

import json
import sys
import time
from pathlib import Path

place = Path(sys.argv[1])
task = json.loads((place / "task.json").read_text())
base = Path(task["card"])
base = base if base.is_dir() else base.parent
with (base / "calls.txt").open("a") as file:
    file.write(f"{task['kind']} {place.name}\n")
if (base / "wait").exists() and (base / "wait").read_text() == place.name:
    time.sleep(120)
if (base / "break").exists():
    sys.exit("the machine is on fire")
epochs = [int(text.split("=")[1]) for text in task["changes"] if text.startswith("training.epochs=")]
effort = epochs[-1] if epochs else 8
figures = {
    "auc": 1 - 1 / (1 + effort), "auc_error": 0.01, "accuracy": 0.5, "accuracy_error": 0.02, "events": 480,
    "lut": 100.0 * effort, "lut_low": 90.0 * effort, "lut_high": 110.0 * effort, "ff": 50.0, "latency_cycles": 5,
    "latency_ns": 25.0, "parameters": 67, "epochs": effort, "graph": "0",
}  # fmt: skip
refused = (base / "refuse").exists() and effort % 2
result = {"figures": None if refused else figures, "reason": "odd" if refused else None, "seconds": 0.1}
(place / "result.json").write_text(json.dumps(result))
