"""torch and diffusers come before our modules: what those import under the hook of jaxtyping is compiled anew."""

import diffusers.models.autoencoders.autoencoder_kl_wan  # noqa: F401
