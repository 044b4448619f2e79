"""Training of the models. Not imported when pictures are compressed or decompressed.

::

    folders -photos-> Photo -crops-> crops -batches-> x, noise -trainer-> weights -export-> weight file -measure-> rates of files
    arrays -images-> ImageSet ------------batches---> x, noise      ^ schedule, time_budget: rate, rounding, steps in the minutes
                        | held out                                 ^ checkpoint: all of it, so that a run goes on as if uncut
                        `-> evaluation

A family of models and its pictures are a `task`: `tasks.photo`, `tasks.images`. All else is the same for both.
`bbans.training.run` is the whole way, `bbans.training.loop.train` the way from a task to a trained network. The commands
``vaezip train`` and ``python -m bbans.training`` are the same.
"""
