"""Synthetic time series, made with numpy alone.

Two generators: KernelSynth of the Chronos paper, drawn exactly (`sampler`, on `bank`, `expressions`, `terms`,
`lowrank`, `harmonics`); and named families of components with training windows drawn from them (`windows`).
"""
