"""Files of weights: how they are written, verified, found and turned into networks again.

Training, reports, evaluation and sharing import from here; here the science, config, data and runtime are used.
"""
