"""From Bayes' rule to a file: the models of VAE tutorials on toy data, their claims beside real code lengths. See README.md."""
