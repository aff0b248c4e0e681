"""Synthetic time series, made with numpy alone: components, named families, and training windows drawn from them."""
