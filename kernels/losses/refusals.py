"""What is said of names that are not known, or not together."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from .definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES
from .names import (
    ALIASES,
    DEFAULT_OUTPUT,
    OUTPUT_ALIASES,
    discriminator_name,
    generator_name,
)


def no_discriminator(loss: str, output: str, argument: str = "loss") -> ValueError:
    """Why there is no such discriminator's loss, or not with this output activation."""
    name = discriminator_name(loss)
    if name not in DISCRIMINATOR_LOSSES:
        if generator_name(loss) in GENERATOR_LOSSES:
            return ValueError(
                f"{argument}={loss!r} is what a generator minimises: expected what the "
                f"discriminator does, 'gan' or another of {', '.join(DISCRIMINATOR_LOSSES)}"
            )
        words = {word: each.discriminator for word, each in ALIASES.items()}
        return _unknown(DISCRIMINATOR_LOSSES, words, loss, argument, "discriminator losses")
    if name not in DIVERGENCES:
        return ValueError(
            f"output={output!r}: {argument}={loss!r} is no f-divergence and has no output "
            f"activation; leave output={DEFAULT_OUTPUT!r}, the default"
        )
    if name == "total_variation" and output == "log_ratio":
        return ValueError(
            "output='log_ratio' is not defined for 'total_variation': its weight w = ∂f*/∂T is the "
            f"constant 1 and cannot equal exp(F); output={DEFAULT_OUTPUT!r} is possible, and "
            "every other divergence has 'log_ratio'"
        )
    outputs = DIVERGENCES[name].outputs
    return _unknown(outputs, OUTPUT_ALIASES, output, "output", f"output activations of {name!r}")


def no_generator(given: str, loss: str, named: str, divergence: str, output: str) -> ValueError:
    """Why there is no such generator's loss, or not of this divergence and output activation.

    Args:
        given: the word for the loss.
        loss: the name that it stands for.
        named: the word for the divergence.
        divergence: the name that it stands for.
        output: the output activation's name.
    """
    if loss not in GENERATOR_LOSSES:
        if discriminator_name(given) in DIVERGENCES:
            return ValueError(
                f"loss={given!r} is what a discriminator minimises: expected "
                f"divergence={given!r} and, as loss, 'non_saturating', 'saturating' or "
                "'boundary_seeking'"
            )
        words = {word: each.generator for word, each in ALIASES.items()}
        return _unknown(GENERATOR_LOSSES, words, given, "loss", "generator losses")
    if divergence not in DIVERGENCES:
        if divergence in DISCRIMINATOR_LOSSES:
            others = ", ".join(name for name in sorted(GENERATOR_LOSSES) if name in _ANSWERS)
            return ValueError(
                f"divergence={named!r}: loss={given!r} follows from an f-divergence, one of "
                f"{', '.join(sorted(DIVERGENCES))}, and {named!r} is none. Generator losses "
                f"that need none: {others}"
            )
        divergences = {
            word: each.discriminator
            for word, each in ALIASES.items()
            if each.discriminator in DIVERGENCES
        }
        return _unknown(DIVERGENCES, divergences, named, "divergence", "divergences")
    outputs = DIVERGENCES[divergence].outputs
    if output not in outputs:
        return no_discriminator(named, output, "divergence")
    return ValueError(
        f"loss={given!r} is not defined for divergence={named!r}: "
        f"{outputs[output].log_weight}. 'saturating' and 'non_saturating' are possible"
    )


# Generator losses that answer the discriminator's of the same name.
_ANSWERS = set(GENERATOR_LOSSES) & set(DISCRIMINATOR_LOSSES)


def _unknown(
    known: Iterable[str], words: Mapping[str, str | None], name: str, argument: str, what: str
) -> ValueError:
    names = sorted(set(known))
    message = f"{argument}={name!r} is not known; known {what}: {', '.join(names)}"
    # A loss that ends in "gan" is named after another method; it is not "gan" with a slip in it.
    if argument != "output" and str(name).lower().endswith("gan"):
        return ValueError(message)
    aliases = {word: stands_for for word, stands_for in words.items() if stands_for is not None}
    nearest = get_close_matches(str(name), [*names, *aliases], n=1)
    if not nearest:
        return ValueError(message)
    also = f", another word for {aliases[nearest[0]]!r}" if nearest[0] in aliases else ""
    return ValueError(f"{message}. Did you mean {nearest[0]!r}{also}?")
