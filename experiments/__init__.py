"""Studies of the claims: trained, measured and put into tables by commands `python -m experiments.NAME` from the
repository. Each module says in its first line how it is run. Everything here uses the package and the scripts; nothing
of them uses this.
"""
