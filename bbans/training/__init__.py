"""Training of the models. Not imported when pictures are compressed or decompressed.

::

    data/    folders -read-> photos -crops--.
             arrays, folders -read-> images -batches-> x, noise -trainer-> weights -export-> weight file -measure-> rates of files
                      | held out                        ^ schedule, time_budget: rate, KL weight and rounding of a step
                      `-> metrics                       ^ checkpoint: all of it, so that a run goes on as if uncut

A family of models and its pictures are a task (`bbans.training.tasks`): one kind for pictures of any size, one for sets of images
of one size. All else is the same for both. `bbans.training.loop.train` is the way from a task to a trained network,
`bbans.training.run.run` the whole way to a weight file. The command for it is `vaezip train`.
"""
