"""Algorithms around a small network, and batches for them."""

import timm
import torch

from georank_zoo.algorithms import ALGORITHMS, Algorithm

SMALL = {
    "byol": {"hidden_dim": 32, "output_dim": 16, "predictor_dim": 24},
    "dino": {"hidden_dim": 32, "bottleneck_dim": 8, "output_dim": 40},
    "moco": {"hidden_dim": 32, "output_dim": 16, "queue_size": 24},
    "simclr": {"hidden_dim": 32, "output_dim": 16},
    "simsiam": {"hidden_dim": 32, "output_dim": 16, "predictor_dim": 8},
    "tile2vec": {"hidden_dim": 32, "output_dim": 16},
}
# Four pairs of places 5 km apart.
LATLON = torch.tensor(
    [[i // 2 + 0.04 * (i % 2), i // 2 * 3.0] for i in range(8)], dtype=torch.float64
)


def backbone() -> torch.nn.Module:
    return timm.create_model("test_resnet", in_chans=3, num_classes=0)


def build(name: str, seed: int = 0, **options: float) -> Algorithm:
    torch.manual_seed(seed)
    return ALGORITHMS[name](backbone(), **{**SMALL[name], **options})


def apart(algorithm: Algorithm) -> Algorithm:
    """Moves the student away from its teacher, and gives no weight the value zero."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return algorithm


def views(algorithm: Algorithm, seed: int = 0, size: int = 32) -> list[torch.Tensor]:
    """As many views as the algorithm takes, three small ones among them where it takes such."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [size] * algorithm.num_views + [size // 2] * 3 * algorithm.takes_local_views
    return [torch.randn(8, 3, size, size, generator=generator) for size in sizes]


def with_weights_of(theirs: torch.nn.Module, ours: torch.nn.Module) -> torch.nn.Module:
    """Gives a module of lightly's the state of ours, which lists it in the same order."""
    pairs = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict({name: value.clone() for name, value in pairs})
    return theirs


def assert_same_gradients(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None and a.grad.abs().max() > 0, name
        error = (a.grad - b.grad).abs().max() / b.grad.abs().max()
        assert error < 1e-4, f"{name}: {error:.1e}"
