"""Training of the models. Not imported when pictures are compressed or decompressed.

::

    folders -photos-> Photo -data-> crops -batches-> x, noise -trainer-> weights -models.export-> weight file
              held out |                                 ^ schedule, pace: rate, rounding, how many steps the minutes allow
                       `-> evaluation                    ^ checkpoint: all of it, so that a run goes on as if uncut

`bbans.training.run` is the whole way, `bbans.training.loop.train` the way from photos to a trained network. The commands
``vaezip train`` and ``python -m bbans.training`` are the same.
"""
