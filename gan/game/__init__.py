"""One round of the game: who plays, what they minimise, how they learn.

Public: `make_players`; `objectives.Game` is what the players minimise.
"""

from __future__ import annotations

from gan.game.choice import make_players

__all__ = ["make_players"]
