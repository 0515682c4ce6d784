"""Tell every token where its video's camera stood (supplement E.1, Eq. 16-17).

Each video v comes with cam_v, the twelve numbers `[R|t]` of one pose a latent frame (`Trajectory.latent_rows`). A
linear layer of each block takes them to the model's width, and the result is added to every token of that video and
frame. Knows no grid and no sequence: it takes the poses of as many tokens as there are.
"""

from torch import nn

POSE_NUMBERS = 12


class CameraEncoder(nn.Linear):
    """`Linear(12, width)` that starts at zero, so that a fresh model is the base model."""

    def __init__(self, width: int) -> None:
        super().__init__(POSE_NUMBERS, width)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
