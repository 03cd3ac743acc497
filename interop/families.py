"""Small models of many families with random weights, to see that their layers get names, shapes and roles that the real loaders agree with.

    families.py OUT_DIR        makes OUT_DIR/<family>/ for each, with diffusers' own save_pretrained

Nothing is learnt from their figures: the weights are noise. What counts is that what we write of them opens.
"""
import os
import sys

import loading  # noqa: F401  sets the environment before torch is imported
import torch
import diffusers

UP, DOWN = ("CrossAttnUpBlock2D", "UpBlock2D"), ("DownBlock2D", "CrossAttnDownBlock2D")

FAMILIES = {
    "unet2dcond": ("UNet2DConditionModel", dict(
        block_out_channels=(32, 64), layers_per_block=2, sample_size=32, in_channels=4, out_channels=4, down_block_types=DOWN,
        up_block_types=UP, cross_attention_dim=32, norm_num_groups=8)),
    "sdxl": ("UNet2DConditionModel", dict(
        block_out_channels=(32, 64), layers_per_block=2, sample_size=32, in_channels=4, out_channels=4, down_block_types=DOWN,
        up_block_types=UP, attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=80, cross_attention_dim=64,
        norm_num_groups=8)),
    "unet_class": ("UNet2DModel", dict(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64), norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), num_class_embeds=10)),
    "sd3": ("SD3Transformer2DModel", dict(
        sample_size=32, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4,
        caption_projection_dim=64, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4)),
    "pixart": ("PixArtTransformer2DModel", dict(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=16, num_attention_heads=4, caption_channels=32, in_channels=4,
        cross_attention_dim=64, out_channels=8, attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6)),
    "wan": ("WanTransformer3DModel", dict(
        patch_size=(1, 2, 2), num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=32, freq_dim=256,
        ffn_dim=64, num_layers=2, cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=32)),
    "ltx": ("LTXVideoTransformer3DModel", dict(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=4, attention_head_dim=16,
        cross_attention_dim=64, num_layers=2, caption_channels=32)),
    "qwen": ("QwenImageTransformer2DModel", dict(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4, joint_attention_dim=32,
        axes_dims_rope=(8, 4, 4))),
    "hunyuandit": ("HunyuanDiT2DModel", dict(
        sample_size=16, num_layers=4, patch_size=2, attention_head_dim=8, num_attention_heads=4, in_channels=4, cross_attention_dim=32,
        cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=32, text_len=4, text_len_t5=4, activation_fn="gelu-approximate")),
    "sana": ("SanaTransformer2DModel", dict(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4, num_cross_attention_heads=4,
        cross_attention_head_dim=16, cross_attention_dim=64, caption_channels=32, sample_size=8, patch_size=1)),
    "lumina2": ("Lumina2Transformer2DModel", dict(
        sample_size=16, patch_size=2, in_channels=4, hidden_size=64, num_layers=2, num_refiner_layers=1, num_attention_heads=4,
        num_kv_heads=2, multiple_of=16, axes_dim_rope=(4, 6, 6), axes_lens=(128, 128, 128), cap_feat_dim=32)),
    "stableaudio": ("StableAudioDiTModel", dict(
        sample_size=16, in_channels=4, num_layers=2, attention_head_dim=16, num_key_value_attention_heads=2, num_attention_heads=4,
        out_channels=4, cross_attention_dim=32, cross_attention_input_dim=32, global_states_input_dim=64, time_proj_dim=64)),
    "audioldm2": ("AudioLDM2UNet2DConditionModel", dict(
        block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=DOWN, up_block_types=UP, cross_attention_dim=(32, 64))),
    "cogvideox": ("CogVideoXTransformer3DModel", dict(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=32, text_embed_dim=32, num_layers=2,
        sample_width=8, sample_height=8, sample_frames=5, patch_size=2, max_text_seq_length=8)),
    "auraflow": ("AuraFlowTransformer2DModel", dict(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=2, attention_head_dim=16,
        num_attention_heads=4, joint_attention_dim=32, caption_projection_dim=64, out_channels=4, pos_embed_max_size=256)),
    "hunyuanvideo": ("HunyuanVideoTransformer3DModel", dict(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=2,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=True, text_embed_dim=32, pooled_projection_dim=16,
        rope_axes_dim=(2, 6, 8))),
    "mochi": ("MochiTransformer3DModel", dict(
        patch_size=2, num_attention_heads=2, attention_head_dim=16, num_layers=2, pooled_projection_dim=16, in_channels=4,
        qk_norm="rms_norm", text_embed_dim=32, time_embed_dim=16, activation_fn="swiglu", max_sequence_length=16)),
    "unet1d": ("UNet1DModel", dict(
        block_out_channels=(32, 64, 128), in_channels=14, out_channels=14, time_embedding_type="positional", sample_size=16,
        down_block_types=("DownResnetBlock1D",)*3, up_block_types=("UpResnetBlock1D",)*2, use_timestep_embedding=True,
        out_block_type="OutConv1DBlock", flip_sin_to_cos=False, freq_shift=1.0, downsample_each_block=False,
        mid_block_type="MidResTemporalBlock1D", act_fn="swish")),
    "svd": ("UNetSpatioTemporalConditionModel", dict(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=16, in_channels=8, out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=32, num_attention_heads=8,
        projection_class_embeddings_input_dim=96, addition_time_embed_dim=32)),
}


# Families made once more with one column of every weight 20 times as large, so that layers are rotated.
OUTLIERS = ("pixart", "unet2dcond")


def with_outliers(model):
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() >= 2:
                weight.view(len(weight), -1)[:, 1] *= 20
    return model


def make(root):
    for name, (cls, config) in FAMILIES.items():
        torch.manual_seed(0)
        model = getattr(diffusers, cls)(**config).float()
        model.save_pretrained(os.path.join(root, name))
        if name in OUTLIERS:
            with_outliers(model).save_pretrained(os.path.join(root, name + "_outliers"))


if __name__ == "__main__":
    make(sys.argv[1])
