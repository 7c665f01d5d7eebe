"""Studies, one per file: `python -m experiments.run_study experiments/specs/NAME.py OUTPUT`."""
