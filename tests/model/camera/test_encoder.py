"""Pose conditioning says nothing at first, and is linear in the poses."""

import torch

from model.camera.encoder import CameraEncoder
from model.camera.presets import preset


def test_a_fresh_encoder_says_nothing() -> None:
    poses = torch.from_numpy(preset("arc-left", 81).latent_rows())[None]
    assert torch.equal(CameraEncoder(8)(poses), torch.zeros(1, 21, 8))


def test_the_mean_pose_of_merged_tokens_encodes_as_their_mean() -> None:
    encoder = CameraEncoder(8)
    torch.nn.init.normal_(encoder.weight)
    poses = torch.randn(2, 4, 12)
    torch.testing.assert_close(encoder(poses.mean(dim=1)), encoder(poses).mean(dim=1))
