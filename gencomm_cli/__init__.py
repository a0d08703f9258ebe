"""Send photographs over noisy radio channels with generative models."""

__version__ = "0.1.0"
