"""Studies of the claims, as commands `python -m experiments.NAME` from the repository: each module says in its first
line how it is run. Everything here uses the package and the scripts; nothing of them uses this.
"""
