"""Small tensors gain nothing from threads, and lose much where several test runs share two cores."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that tests start inherit it
os.environ["GENCOMM_MODELS"] = os.path.join(tempfile.gettempdir(), "gencomm-no-models")  # not the presets of whoever runs the tests

pytest_plugins = [
    f"tests.support.{name}" for name in ("commands", "browser", "presets", "released", "classical", "pretrained")
]  # fmt: skip
