"""From Bayes' rule to a file: the models of VAE tutorials on toy data, their claims beside real code lengths. See README.md."""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # numpy's: a process for each core is faster than threads that wait for each other
