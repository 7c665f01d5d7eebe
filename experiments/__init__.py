"""Studies of the claims: trained, measured and judged by commands `python -m experiments.NAME` from the repository.

run_study trains and evaluates a spec, ledger judges the claims from its tables; each other module says in its first
line how it is run. Everything here uses the package and the scripts; nothing of them uses this.
"""
