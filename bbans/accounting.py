"""Where the bits of messages go: the terms of the negative ELBO, as they were coded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accounting:
    """Where the bits of messages come from, in whole bits.

    `likelihood_bits` is -log2 p(x|z), `prior_bits` -log2 p(z), `posterior_bits` -log2 q(z|x), which bits-back coding gives back,
    `initial_bits` what had to be on the messages before latents could be popped, and `changes_bits` what changes of the networks
    to a picture take.
    """

    likelihood_bits: int
    prior_bits: int
    posterior_bits: int
    initial_bits: int
    changes_bits: int = 0

    @property
    def net_bits(self) -> int:
        """Length of the messages as the model predicts it: likelihood + prior - posterior + initial + changes bits."""
        return self.likelihood_bits + self.prior_bits - self.posterior_bits + self.initial_bits + self.changes_bits

    def __add__(self, other: Accounting) -> Accounting:
        """The accounting of the messages of both."""
        return Accounting(
            likelihood_bits=self.likelihood_bits + other.likelihood_bits,
            prior_bits=self.prior_bits + other.prior_bits,
            posterior_bits=self.posterior_bits + other.posterior_bits,
            initial_bits=self.initial_bits + other.initial_bits,
            changes_bits=self.changes_bits + other.changes_bits,
        )


@dataclass(frozen=True)
class Encoded:
    """Messages in the order in which they are decoded, and where the bits of all of them come from."""

    messages: list[bytes]
    accounting: Accounting
