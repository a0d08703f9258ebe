"""Small tensors gain nothing from threads, and lose much where several test runs share two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that tests start inherit it
