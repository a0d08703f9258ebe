"""Channels and equalisers: functions of arrays, the same for NumPy (the command) and torch (training, differentiable).

Gains and noise are arguments; noise is given as N0, a power per complex symbol, never as an SNR.
"""
