"""Which layers l1dl converts exactly; everything else is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from l1dl.errors import UnsupportedError
from l1dl.graph import check_identifier
from l1dl.reserved import RESERVED

_ATTRIBUTES = """
accum_t activ_param activation activation_quantizer algorithm align_corners apply_reset_gate axis beta_data
beta_quantizer bias bias_data bias_precision bias_quantizer bias_t bitwidth class_name collapse config_cpp
conv_implementation count_pad crop_bottom crop_left crop_right crop_top data_format data_reader depth depth_multiplier
depthwise depthwise_accum_t depthwise_data depthwise_quantizer depthwise_result_t depthwise_t dilation dim direction
embeddings embeddings_data embeddings_t epsilon equation exp_table_size exp_table_t expr_t expression filt_height
filt_width function_cpp fusible gamma_data gamma_quantizer group height height_factor implementation in_height
in_width include_header index index_t inp_norm_t input_shape inputs instructions interpolation inv_inp_t inv_table_t
keepdims kernel layer_list lut_functions mask_kbi mean_data mean_quantizer merge_mode min_height min_width module
n_chan n_dim n_filt n_in n_inner n_out n_outer n_partitions n_time_steps n_timesteps name narrow op out_height
out_shape out_width output_shape overrides pad_bottom pad_left pad_right pad_top parallelization_factor param
param_data param_t perm perm_str pointwise pointwise_accum_t pointwise_data pointwise_quantizer pointwise_t
pool_height pool_op pool_width quantize quantizer quantizer_precision recurrent_activation recurrent_bias
recurrent_weight result_t return_sequences return_state reuse_factor rounding_mode scale scale_data scale_precision
scale_quantizer scale_t seq_len shift shift_prec shift_t signed skip slope slope_prec slope_t static strategy
stride_height stride_width table table_data table_size table_t target_cycles target_shape threshold time_major trace
trusted unscaled use_beta use_bias use_gamma value variance_data variance_quantizer vocab_size weight weight_data
weight_quantizer weight_t width width_factor wrapped_layer zero_bias zeropt
"""
"""Names of attributes of hls4ml's layers."""

MISREAD = frozenset((*_ATTRIBUTES.split(), *"input"))
"""Names of layers that hls4ml misreads, so that conversion renames them.

It keeps a layer's result among the layer's attributes, under the layer's name (a ``Permute`` called ``perm`` loses
its permutation), and to reserve the name ``input`` it reserves each letter of it.
"""


def check_supported(model: Any) -> None:
    """Refuse a Keras model with anything that cannot be converted exactly.

    Raises
    ------
    UnsupportedError
        The text names the layer, the option, its value and what to use instead.
    """
    from l1dl.convert.prepare import prepare

    prepare(model)


def kind_of(layer: Any) -> str:
    """Return the class of a layer."""
    return type(layer).__name__


def plain_kind(layer: Any) -> str:
    """Return the class of Keras that computes the same as a layer between its quantisers, if it has any."""
    return kind_of(layer).removeprefix("Q")


def where_of(layer: Any) -> str:
    """Return how errors call a layer."""
    return f"layer {layer.name!r} ({kind_of(layer)})"


def same_ends(image: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Return what ``padding="same"`` adds before and after each axis: ``(before 0, after 0, before 1, after 1, …)``."""
    ends: list[int] = []
    for size, length, step in zip(image, kernel, strides, strict=True):
        total = max((-(-size // step) - 1) * step + length - size, 0)
        ends += (total // 2, total - total // 2)
    return tuple(ends)


def check_name(layer: Any) -> str:
    """Return the name of a layer if it can stand in generated code."""
    check_identifier(layer.name)
    if "__" in layer.name:
        msg = f"{where_of(layer)}: two underscores stand between a layer and its parts; rename the layer"
        raise UnsupportedError(msg)
    if layer.name in RESERVED:
        msg = f"{where_of(layer)}: the name {layer.name!r} is a keyword of the generated code; rename the layer"
        raise UnsupportedError(msg)
    return str(layer.name)
