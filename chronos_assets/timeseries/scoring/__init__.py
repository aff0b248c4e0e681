"""How good forecasts are: metrics, baselines, accuracy, the gate."""
