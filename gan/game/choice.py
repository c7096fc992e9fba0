"""Which players a game has."""

from __future__ import annotations

import torch

from gan.config import Config
from gan.data.training_set import TrainingSet
from gan.game.label_players import RelaxingClassifier, WeighingClassifier
from gan.game.players import Players
from gan.game.symbol_players import RelaxingPlayers, WeighingPlayers


def make_players(config: Config, data: TrainingSet, device: torch.device) -> Players:
    """The players of the game that `objective` describes, on numbers, symbols or labels.

    Args:
        config: `seed`, `model`, `objective` and `train` are used.
        data: what the game is played on.
        device: where to play.

    Raises:
        ValueError: the networks of `model` are not for such examples.
    """
    if data.alphabet is None:
        return Players(config, data, device)
    relaxes = config.objective.discrete.relaxes
    if data.labels is not None:
        return (RelaxingClassifier if relaxes else WeighingClassifier)(config, data, device)
    return (RelaxingPlayers if relaxes else WeighingPlayers)(config, data, device)
