"""Where data lives and jobs run. Knows no model."""
