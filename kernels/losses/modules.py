"""The losses as modules: the choice made once, checked at construction, shown by `print`."""

from torch import Tensor, nn

from ..dispatch import Impl, check_impl
from .functions import check_reduction, discriminator_loss, generator_loss
from .names import (
    DEFAULT_OUTPUT,
    DiscriminatorLossWord,
    GeneratorLossWord,
    OutputWord,
    Reduction,
    discriminator_name,
    generator_name,
)
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
        real_label: label of real samples, for the losses with labels.
        fake_label: label of generated samples, below `real_label`.
        reduction: "mean", "sum" or "none".
        return_statistics: also return `DiscriminatorStatistics`.
        impl: "auto", "triton" or "torch".

    Raises:
        ValueError: one of them is not known, or not defined for the others.
    """

    def __init__(
        self,
        loss: DiscriminatorLossWord = "gan",
        *,
        output: OutputWord = DEFAULT_OUTPUT,
        a: float = 0.0,
        b: float = 1.0,
        real_label: float = 1.0,
        fake_label: float = 0.0,
        reduction: Reduction = "mean",
        return_statistics: bool = False,
        impl: Impl = "auto",
    ) -> None:
        super().__init__()
        discriminator_objective(loss, output, a, b, real_label, fake_label)
        check_reduction(reduction)
        self.loss, self.output, self.a, self.b = loss, output, a, b
        self.real_label, self.fake_label = real_label, fake_label
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
            output=self.output,
            a=self.a,
            b=self.b,
            real_label=self.real_label,
            fake_label=self.fake_label,
            reduction=self.reduction,
            real_weights=real_weights,
            fake_weights=fake_weights,
            return_statistics=self.return_statistics,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        """The choices, for `print`."""
        least_squares = discriminator_name(self.loss) == "least_squares"
        targets = f", a={self.a}, b={self.b}" if least_squares else ""
        labels = f", real_label={self.real_label}, fake_label={self.fake_label}"
        others = targets + (labels if (self.real_label, self.fake_label) != (1.0, 0.0) else "")
        return f"{self.loss!r}, output={self.output!r}{others}, reduction={self.reduction!r}"


class GeneratorLoss(nn.Module):
    """`generator_loss` with its choices made.

    Args:
        loss: as in `generator_loss`, as is every other argument.
        divergence: the loss that the discriminator minimises.
        output: that divergence's output activation.
        c: target of the logits, for "least_squares".
        reduction: "mean", "sum" or "none".
        return_statistics: also return `GeneratorStatistics`.
        impl: "auto", "triton" or "torch".

    Raises:
        ValueError: one of them is not known, or not defined for the others.
    """

    def __init__(
        self,
        loss: GeneratorLossWord = "non_saturating",
        *,
        divergence: DiscriminatorLossWord = "gan",
        output: OutputWord = DEFAULT_OUTPUT,
        c: float = 1.0,
        reduction: Reduction = "mean",
        return_statistics: bool = False,
        impl: Impl = "auto",
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
            divergence=self.divergence,
            output=self.output,
            c=self.c,
            log_z=log_z,
            real_logits=real_logits,
            reduction=self.reduction,
            fake_weights=fake_weights,
            return_statistics=self.return_statistics,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        """The choices, for `print`."""
        target = f", c={self.c}" if generator_name(self.loss) == "least_squares" else ""
        return (
            f"{self.loss!r}, divergence={self.divergence!r}, output={self.output!r}{target}, "
            f"reduction={self.reduction!r}"
        )
