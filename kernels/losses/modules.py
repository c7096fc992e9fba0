"""The losses as modules: the choice made once, checked at construction, shown by `print`."""

from torch import Tensor, nn

from ..dispatch import check_impl
from .functions import check_reduction, discriminator_loss, generator_loss
from .objectives import discriminator_objective, generator_objective
from .statistics import DiscriminatorStatistics, GeneratorStatistics
from .twin import Losses


class DiscriminatorLoss(nn.Module):
    """`discriminator_loss` with its choices made.

    Args:
        loss: as in `discriminator_loss`, as is every other argument.
        output: the output activation of a divergence.
        a: target of generated samples' logits, for "least_squares".
        b: target of real samples' logits, for "least_squares", above `a`.
        reduction: "mean", "sum" or "none".
        impl: "auto", "triton" or "torch".
        return_statistics: also return `DiscriminatorStatistics`.

    Raises:
        ValueError: one of them is not known, or not defined for the others.
    """

    def __init__(
        self,
        loss: str = "gan",
        output: str = "nowozin",
        *,
        a: float = 0.0,
        b: float = 1.0,
        reduction: str = "mean",
        impl: str = "auto",
        return_statistics: bool = False,
    ) -> None:
        super().__init__()
        discriminator_objective(loss, output, a, b)
        check_reduction(reduction)
        self.loss, self.output, self.a, self.b = loss, output, a, b
        self.reduction, self.impl = reduction, check_impl(impl)
        self.return_statistics = return_statistics

    def forward(
        self,
        real_logits: Tensor,
        fake_logits: Tensor,
        real_weights: Tensor | None = None,
        fake_weights: Tensor | None = None,
    ) -> Losses | tuple[Losses, DiscriminatorStatistics]:
        """The loss of logits of any shape and floating dtype, as `discriminator_loss` gives it."""
        return discriminator_loss(
            real_logits,
            fake_logits,
            self.loss,
            self.output,
            self.impl,
            self.return_statistics,
            a=self.a,
            b=self.b,
            reduction=self.reduction,
            real_weights=real_weights,
            fake_weights=fake_weights,
        )

    def extra_repr(self) -> str:
        """The choices, for `print`."""
        targets = f", a={self.a}, b={self.b}" if self.loss == "least_squares" else ""
        return f"{self.loss!r}, output={self.output!r}{targets}, reduction={self.reduction!r}"


class GeneratorLoss(nn.Module):
    """`generator_loss` with its choices made.

    Args:
        loss: as in `generator_loss`, as is every other argument.
        divergence: the loss that the discriminator minimises.
        output: that divergence's output activation.
        c: target of the logits, for "least_squares".
        reduction: "mean", "sum" or "none".
        impl: "auto", "triton" or "torch".
        return_statistics: also return `GeneratorStatistics`.

    Raises:
        ValueError: one of them is not known, or not defined for the others.
    """

    def __init__(
        self,
        loss: str = "non_saturating",
        divergence: str = "gan",
        output: str = "nowozin",
        *,
        c: float = 1.0,
        reduction: str = "mean",
        impl: str = "auto",
        return_statistics: bool = False,
    ) -> None:
        super().__init__()
        generator_objective(loss, divergence, output, c)
        check_reduction(reduction)
        self.loss, self.divergence, self.output, self.c = loss, divergence, output, c
        self.reduction, self.impl = reduction, check_impl(impl)
        self.return_statistics = return_statistics

    def forward(
        self,
        fake_logits: Tensor,
        real_logits: Tensor | None = None,
        log_z: Tensor | float | None = None,
        fake_weights: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, GeneratorStatistics]:
        """The loss of logits of any shape and floating dtype, as `generator_loss` gives it."""
        return generator_loss(
            fake_logits,
            self.loss,
            self.divergence,
            self.output,
            self.impl,
            c=self.c,
            log_z=log_z,
            real_logits=real_logits,
            reduction=self.reduction,
            fake_weights=fake_weights,
            return_statistics=self.return_statistics,
        )

    def extra_repr(self) -> str:
        """The choices, for `print`."""
        target = f", c={self.c}" if self.loss == "least_squares" else ""
        return (
            f"{self.loss!r}, divergence={self.divergence!r}, output={self.output!r}{target}, "
            f"reduction={self.reduction!r}"
        )
