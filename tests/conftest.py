"""What every test shares: no network, no accelerator unless asked for, repeatable hypothesis runs.

How to run: `make test` (everything but `slow`), `make test-slow`, or `pytest -k word` in `.venv`.
Tests marked `gpu` or `model` skip themselves where what they need is missing.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester", "empathy_agent.testing.table"]

ROOT = Path(__file__).resolve().parent.parent

# A bare `pytest` is as closed as `make test`; read by libraries when they are first imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("LANGSMITH_TRACING", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Deadlines fail on a busy machine; in CI the examples are the same every time.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def has_embedded_model() -> bool:
    """Tell whether the embedded GGUF and the library that runs it are both here."""
    models = ROOT / "empathy_agent" / "models"
    return any(models.glob("*.gguf")) and importlib.util.find_spec("llama_cpp") is not None


def has_accelerator() -> bool:
    """Tell whether torch sees an accelerator."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` or `model` where their needs are missing."""
    needs = {"gpu": has_accelerator, "model": has_embedded_model}
    for name, is_there in needs.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"no {name} on this machine"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return ROOT
