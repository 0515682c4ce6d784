"""The ReCamMaster base: our one block loop computes what its authors' model computes."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.memory.sequence import ConditionVideo

HEADS, HEAD, CHANNELS, DEPTH, TEXT = 2, 12, 4, 3, 8
WIDTH = HEADS * HEAD
FRAMES, ROWS, COLUMNS = 3, 4, 6


def tiny_model(seed: int = 0) -> MemoryWanTransformer:
    torch.manual_seed(seed)
    model = MemoryWanTransformer(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT,
        ffn_dim=32,
        num_layers=DEPTH,
        rope_max_seq_len=32,
        cameras=True,
    )
    for block in model.blocks:
        torch.nn.init.normal_(block.camera.weight, std=0.1)
        torch.nn.init.normal_(block.projector.weight, std=0.2)
        torch.nn.init.normal_(block.projector.bias, std=0.1)
    return model.eval()


class Original:
    """ReCamMaster's forward pass written down plainly, over a checkpoint with its authors' names."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def heads(self, name: str, norm: str, x: Tensor) -> Tensor:
        normed = F.rms_norm(self.linear(name, x), (WIDTH,), self.w[f"{norm}.weight"], eps=1e-6)
        return normed.unflatten(2, (HEADS, HEAD)).transpose(1, 2)

    def attention(self, name: str, x: Tensor, context: Tensor, angles: Tensor | None) -> Tensor:
        query = self.heads(f"{name}.q", f"{name}.norm_q", x)
        key = self.heads(f"{name}.k", f"{name}.norm_k", context)
        value = self.linear(f"{name}.v", context).unflatten(2, (HEADS, HEAD)).transpose(1, 2)
        if angles is not None:
            query, key = (self.turn(each, angles) for each in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.linear(f"{name}.o", mixed)

    @staticmethod
    def turn(x: Tensor, angles: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).float()

    @staticmethod
    def angles(frames: int, rows: int, columns: int) -> Tensor:
        spatial = HEAD // 3
        grid = torch.meshgrid(*(torch.arange(size).double() for size in (frames, rows, columns)), indexing="ij")
        axes = zip(grid, (HEAD - 2 * spatial, spatial, spatial), strict=True)
        return torch.cat([at.reshape(-1, 1) / 10_000 ** (torch.arange(0, d, 2) / d) for at, d in axes], dim=1)

    def block(self, name: str, x: Tensor, text: Tensor, cameras: Tensor, time: Tensor, angles: Tensor) -> Tensor:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = (self.w[f"{name}.modulation"] + time).chunk(6, dim=1)
        entering = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift
        entering = entering + self.linear(f"{name}.cam_encoder", cameras)
        attended = self.attention(f"{name}.self_attn", entering, entering, angles)
        x = x + gate * self.linear(f"{name}.projector", attended)
        normed = F.layer_norm(x, (WIDTH,), self.w[f"{name}.norm3.weight"], self.w[f"{name}.norm3.bias"], eps=1e-6)
        x = x + self.attention(f"{name}.cross_attn", normed, text, None)
        entering = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + ff_scale) + ff_shift
        return x + ff_gate * self.linear(
            f"{name}.ffn.2", F.gelu(self.linear(f"{name}.ffn.0", entering), approximate="tanh")
        )

    def forward(self, latents: Tensor, source: Tensor, timestep: Tensor, text: Tensor, cameras: Tensor) -> Tensor:
        x = torch.cat([latents, source], dim=2)
        x = F.conv3d(x, self.w["patch_embedding.weight"], self.w["patch_embedding.bias"], stride=(1, 2, 2))
        frames, rows, columns = x.shape[2:]
        x = x.flatten(2).mT
        text = self.linear("text_embedding.2", F.gelu(self.linear("text_embedding.0", text), approximate="tanh"))
        frequencies = 10_000 ** (-torch.arange(128).double() / 128)
        waves = torch.outer(timestep.double(), frequencies)
        time = self.linear("time_embedding.0", torch.cat([waves.cos(), waves.sin()], dim=1).float())
        time = self.linear("time_embedding.2", F.silu(time))
        by_block = self.linear("time_projection.1", F.silu(time)).unflatten(1, (6, WIDTH))
        by_token = cameras.repeat(1, 2, 1).repeat_interleave(rows * columns, dim=1)
        for index in range(DEPTH):
            x = self.block(f"blocks.{index}", x, text, by_token, by_block, self.angles(frames, rows, columns))
        shift, scale = (self.w["head.modulation"] + time[:, None]).chunk(2, dim=1)
        x = self.linear("head.head", F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift)
        x = x.unflatten(1, (frames, rows, columns)).unflatten(4, (1, 2, 2, CHANNELS))
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)[:, :, : latents.shape[2]]


def test_one_block_loop_computes_recammaster(original_names: dict[str, str]) -> None:
    model = tiny_model()
    original = Original({original_names[name]: tensor for name, tensor in model.state_dict().items()})
    latents, source = torch.randn(2, 2, CHANNELS, FRAMES, ROWS, COLUMNS)
    timestep, text, cameras = torch.tensor([700.0, 30.0]), torch.randn(2, 5, TEXT), torch.randn(2, FRAMES, 12)
    video = ConditionVideo(source, patch=2, start=1, cameras=cameras, live=True, mergeable=False)
    with torch.no_grad():
        ours, _ = model.predict(latents, timestep, text, Conditioning((video,), target_cameras=cameras))
        theirs = original.forward(latents, source, timestep, text, cameras)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
