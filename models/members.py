"""The registry of members: from a name in a watch file to a class. A new member joins by its line here."""

from importlib import import_module

from models.member import Member
from watchkeeper.errors import BadInputError

MEMBERS: dict[str, str] = {
    "norm": "models.norm:Norm",
    "pca": "models.pca:Pca",
    "quiet": "models.quiet:Quiet",
    "ridge": "models.ridge:Ridge",
    "vae": "models.vae:Vae",
    "lstm": "models.lstm:Lstm",
    "iforest": "models.iforest:IForest",
    "agent": "models.agent:Agent",
}
"""Where each member's class is. Imported when asked for, so that a detector without networks never loads torch."""


def member_class(name: str) -> type[Member]:
    """Return the class of a member.

    Raises:
        BadInputError: there is no such member.
    """
    if name not in MEMBERS:
        raise BadInputError(f"member {name} is not known; known are {', '.join(sorted(MEMBERS))}")
    module, _, symbol = MEMBERS[name].partition(":")
    found: type[Member] = getattr(import_module(module), symbol)
    return found


def create_member(name: str, window: int, epochs: int = 12, device: str = "cpu") -> Member:
    """Return an unfitted base member (not the agent, which is made and trained by itself).

    Args:
        name: norm, pca, ridge, vae, lstm, quiet or iforest.
        window: length in samples of the watch's windows; pca and quiet take shorter ones where that is long.
        epochs: of a network's training.
        device: where networks train and score.

    Raises:
        BadInputError: there is no such base member.
    """
    match name:
        case "pca":
            from models.pca import Pca

            return Pca(window=min(window, Pca().window))
        case "quiet":
            from models.quiet import Quiet

            return Quiet(window=max(2, min(window, Quiet().window)))
        case "vae":
            from models.vae import Vae, VaeConfig

            return Vae(VaeConfig(window=window, epochs=epochs), device)
        case "lstm":
            from models.lstm import Lstm, LstmConfig

            return Lstm(LstmConfig(epochs=epochs), device)
        case "iforest":
            from models.iforest import IForest

            return IForest(window)
        case "norm" | "ridge":
            return member_class(name)()
        case _:
            raise BadInputError(
                f"{name} is no base member; a watch's members are among norm, pca, ridge, vae, lstm, quiet, iforest"
            )
