"""What a run shows while it goes on, and what it leaves for people to read: grids, logs, losses per band, figures.

Used by training, and by sharing to read a finished run. It never trains, never evaluates and never ends a run.
"""
