"""Predictors: ensembles of forecasting members, learned by backtests and calibrated."""
