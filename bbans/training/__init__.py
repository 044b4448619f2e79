"""Training of the models. Not imported when pictures are compressed or decompressed.

::

    folders -photos-> Photo -data-> crops -batches-> x, noise -trainer-> weights -export-> weight file -measure-> rates of files
    arrays -images-> ImageSet ------image_task-----> x, noise      ^ schedule, pace: rate, rounding, how many steps in the minutes
                        | held out                                 ^ checkpoint: all of it, so that a run goes on as if uncut
                        `-> evaluation

A family of models and its pictures are a `task`: `photo_task`, `image_task`. All else is the same for both.
`bbans.training.run` is the whole way, `bbans.training.loop.train` the way from a task to a trained network. The commands
``vaezip train`` and ``python -m bbans.training`` are the same.
"""
