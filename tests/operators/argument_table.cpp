// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Arguments that neither a schema nor an argument's name tells, and the operators that the sweep
// does not call.
#include "operators/arguments.h"

#include <array>

namespace neap::test {
namespace {

constexpr std::array kRows = {
    TableRow{"conv1d|conv_transpose1d", "input=f(2,4,64) weight=f(4,4,3) bias=f(4) padding=[1]"},
    TableRow{"conv2d|conv_transpose2d|_convolution_mode|cudnn_convolution|thnn_conv2d|"
             "slow_conv_transpose2d|slow_conv_dilated2d|_slow_conv2d_forward|"
             "conv_depthwise3d|_conv_depthwise2d|mkldnn_convolution|convolution_overrideable|"
             "convolution|_convolution",
             "input|self=f(2,4,8,8) weight=f(4,4,3,3) bias=f(4) kernel_size=[3,3] "
             "stride=[1,1] padding=[1,1] dilation=[1,1] transposed=false "
             "output_padding=[0,0] groups=1"},
    TableRow{"conv3d|conv_transpose3d|slow_conv3d|slow_conv3d_forward|slow_conv_transpose3d|"
             "slow_conv_dilated3d",
             "input|self=f(2,2,4,8,8) weight=f(2,2,3,3,3) bias=f(2) kernel_size=[3,3,3] "
             "stride=[1,1,1] padding=[1,1,1] dilation=[1,1,1] output_padding=[0,0,0] groups=1"},
    TableRow{"convolution_backward|convolution_backward_overrideable|_slow_conv2d_backward|"
             "_convolution_double_backward",
             "grad_output|gO=f(2,4,8,8) input|self=f(2,4,8,8) weight=f(4,4,3,3) "
             "bias_sizes=[4] ggI=f(2,4,8,8) ggW=f(4,4,3,3) ggb=f(4) kernel_size=[3,3] "
             "stride=[1,1] padding=[1,1] dilation=[1,1] transposed=false "
             "output_padding=[0,0] groups=1 output_mask=[true,true,true]"},
    TableRow{"conv_tbc|conv_tbc_backward",
             "self=f(4,4,8) input=f(8,4,16) weight=f(3,16,8) bias=f(8) pad=0"},
    TableRow{"batch_norm|native_batch_norm|_native_batch_norm_legit|"
             "_native_batch_norm_legit_functional|_native_batch_norm_legit_no_training|"
             "_batch_norm_impl_index|_batch_norm_with_update|"
             "_batch_norm_with_update_functional|_batch_norm_no_update|cudnn_batch_norm|"
             "instance_norm|batch_norm_update_stats|batch_norm_stats",
             "input=f(2,256,4,4) weight=u(256) bias=f(256) running_mean=f(256) "
             "running_var=u(256) training=true train=true momentum=0.1 eps=0.00001 "
             "cudnn_enabled=false use_input_stats=true exponential_average_factor=0.1 "
             "epsilon=0.00001"},
    TableRow{"native_batch_norm_backward|batch_norm_backward|_batch_norm_impl_index_backward",
             "grad_out|grad_output=f(2,256,4,4) input=f(2,256,4,4) weight=u(256) "
             "running_mean=f(256) running_var=u(256) save_mean|save_invstd|save_var|"
             "save_var_transform=u(256) train=true update=true eps=0.00001 "
             "output_mask=[true,true,true] impl_index=0 reserve|reservedSpace=z(0)"},
    TableRow{"batch_norm_elemt", "input=f(2,8,4,4) weight|bias|mean|invstd=u(8) eps=0.00001"},
    TableRow{"native_layer_norm|layer_norm",
             "input=f(16,16) normalized_shape=[16] weight=f(16) bias=f(16) eps=0.00001"},
    TableRow{"native_layer_norm_backward",
             "grad_out=f(16,16) input=f(16,16) normalized_shape=[16] mean=f(16,1) "
             "rstd=u(16,1) weight=f(16) bias=f(16) output_mask=[true,true,true]"},
    TableRow{"native_group_norm|group_norm",
             "input=f(2,8,8,8) weight=f(8) bias=f(8) N=2 C=8 HxW=64 group|num_groups=4 "
             "eps=0.00001"},
    TableRow{"native_group_norm_backward",
             "grad_out=f(2,8,8,8) input=f(2,8,8,8) mean=f(2,4) rstd=u(2,4) weight=f(8) N=2 "
             "C=8 HxW=64 group=4 output_mask=[true,true,true]"},
    TableRow{"rms_norm|_fused_rms_norm", "input=f(16,16) normalized_shape=[16] weight=f(16)"},
    TableRow{"_weight_norm|_weight_norm_interface|_weight_norm_differentiable_backward|"
             "_weight_norm_interface_backward",
             "v|grad_w|saved_v=f(16,16) g|saved_g|saved_norms=u(16,1) dim=0"},
    TableRow{"adaptive_avg_pool1d|adaptive_max_pool1d", "self=f(4,4,32) output_size=[16]"},
    TableRow{"adaptive_avg_pool3d|_adaptive_avg_pool3d|adaptive_max_pool3d",
             "self=f(2,2,4,8,8) output_size=[2,8,8]"},
    TableRow{"adaptive_avg_pool2d|_adaptive_avg_pool2d|adaptive_max_pool2d",
             "self=f(2,4,8,8) output_size=[4,4]"},
    TableRow{"adaptive_max_pool2d_backward",
             "grad_output=f(2,4,4,4) self=f(2,4,8,8) indices=i64(2,4,4,4)"},
    TableRow{"adaptive_max_pool3d_backward",
             "grad_output=f(2,2,2,4,4) self=f(2,2,4,8,8) indices=i256(2,2,2,4,4)"},
    TableRow{"_adaptive_avg_pool2d_backward", "grad_output=f(2,4,4,4) self=f(2,4,8,8)"},
    TableRow{"_adaptive_avg_pool3d_backward|adaptive_avg_pool3d_backward",
             "grad_output=f(2,2,2,4,4) self=f(2,2,4,8,8)"},
    TableRow{"avg_pool1d|max_pool1d|max_pool1d_with_indices",
             "self=f(4,4,64) kernel_size=[2] stride=[2]"},
    TableRow{"avg_pool2d|max_pool2d|max_pool2d_with_indices",
             "self=f(2,4,16,16) kernel_size=[2,2] stride=[2,2] padding=[0,0]"},
    TableRow{"avg_pool3d|max_pool3d|max_pool3d_with_indices",
             "self=f(2,4,8,8,8) kernel_size=[2,2,2] stride=[2,2,2] padding=[0,0,0]"},
    TableRow{"avg_pool2d_backward|max_pool2d_with_indices_backward|max_pool2d_backward",
             "grad_output=f(2,4,8,8) self=f(2,4,16,16) kernel_size=[2,2] stride=[2,2] "
             "padding=[0,0] dilation=[1,1] ceil_mode=false count_include_pad=true "
             "divisor_override=- indices=i256(2,4,8,8)"},
    TableRow{"avg_pool3d_backward|max_pool3d_with_indices_backward",
             "grad_output=f(2,4,4,4,4) self=f(2,4,8,8,8) kernel_size=[2,2,2] stride=[2,2,2] "
             "padding=[0,0,0] dilation=[1,1,1] ceil_mode=false count_include_pad=true "
             "divisor_override=- indices=i512(2,4,4,4,4)"},
    TableRow{"fractional_max_pool2d",
             "self=f(2,4,16,16) kernel_size=[2,2] output_size=[8,8] random_samples=u(2,4,2)"},
    TableRow{"fractional_max_pool2d_backward",
             "grad_output=f(2,4,8,8) self=f(2,4,16,16) kernel_size=[2,2] output_size=[8,8] "
             "indices=i256(2,4,8,8)"},
    TableRow{"fractional_max_pool3d",
             "self=f(2,4,8,8,8) kernel_size=[2,2,2] output_size=[4,4,4] "
             "random_samples=u(2,4,3)"},
    TableRow{"fractional_max_pool3d_backward",
             "grad_output=f(2,4,4,4,4) self=f(2,4,8,8,8) kernel_size=[2,2,2] "
             "output_size=[4,4,4] indices=i512(2,4,4,4,4)"},
    TableRow{"max_unpool2d", "self=f(2,4,8,8) indices=i256(2,4,8,8) output_size=[16,16]"},
    TableRow{"max_unpool3d",
             "self=f(2,2,4,4,4) indices=i512(2,2,4,4,4) output_size=[8,8,8] stride=[2,2,2] "
             "padding=[0,0,0]"},
    TableRow{"reflection_pad1d|replication_pad1d", "self=f(4,4,16) padding=[2,2]"},
    TableRow{"reflection_pad1d_backward|replication_pad1d_backward",
             "grad_output=f(4,4,20) self=f(4,4,16) padding=[2,2]"},
    TableRow{"reflection_pad2d|replication_pad2d", "self=f(2,4,8,8) padding=[1,1,1,1]"},
    TableRow{"reflection_pad2d_backward|replication_pad2d_backward",
             "grad_output=f(2,4,10,10) self=f(2,4,8,8) padding=[1,1,1,1]"},
    TableRow{"reflection_pad3d|replication_pad3d", "self=f(2,2,4,8,8) padding=[1,1,1,1,1,1]"},
    TableRow{"reflection_pad3d_backward|replication_pad3d_backward",
             "grad_output=f(2,2,6,10,10) self=f(2,2,4,8,8) padding=[1,1,1,1,1,1]"},
    TableRow{"pad|_pad_enum|_pad_circular", "self=f(4,8,16) pad=[1,1] mode='constant' mode_enum=1"},
    TableRow{"upsample_nearest1d_backward|_upsample_nearest_exact1d_backward|"
             "upsample_linear1d_backward",
             "grad_output=f(2,4,64) output_size=[64] input_size=[2,4,32]"},
    TableRow{"upsample_nearest1d|_upsample_nearest_exact1d|upsample_linear1d",
             "input|self=f(2,4,32) output_size=[64] scale_factors=-"},
    TableRow{"upsample_nearest2d_backward|_upsample_nearest_exact2d_backward|"
             "upsample_bilinear2d_backward|upsample_bicubic2d_backward|"
             "_upsample_bicubic2d_aa_backward|_upsample_bilinear2d_aa_backward|"
             "_upsample_lanczos2d_aa_backward",
             "grad_output=f(2,4,16,16) output_size=[16,16] input_size=[2,4,8,8]"},
    TableRow{"upsample_nearest2d|_upsample_nearest_exact2d|upsample_bilinear2d|"
             "upsample_bicubic2d|_upsample_bicubic2d_aa|_upsample_bilinear2d_aa|"
             "_upsample_lanczos2d_aa",
             "input|self=f(2,4,8,8) output_size=[16,16] scale_factors=-"},
    TableRow{"upsample_nearest3d_backward|_upsample_nearest_exact3d_backward|"
             "upsample_trilinear3d_backward",
             "grad_output=f(2,2,4,8,8) output_size=[4,8,8] input_size=[2,2,2,4,4]"},
    TableRow{"upsample_nearest3d|_upsample_nearest_exact3d|upsample_trilinear3d",
             "input|self=f(2,2,2,4,4) output_size=[4,8,8] scale_factors=-"},
    TableRow{"pixel_shuffle|pixel_unshuffle",
             "self=f(2,4,8,8) upscale_factor=2 downscale_factor=2"},
    TableRow{"channel_shuffle|native_channel_shuffle|math_channel_shuffle",
             "self=f(2,4,8,8) groups=2"},
    TableRow{"grid_sampler|grid_sampler_2d|_grid_sampler_2d_cpu_fallback|"
             "grid_sampler_2d_backward|_grid_sampler_2d_cpu_fallback_backward|"
             "cudnn_grid_sampler",
             "grad_output=f(2,4,8,8) input=f(2,4,8,8) grid=f(2,8,8,2) interpolation_mode=0 "
             "padding_mode=0 align_corners=false output_mask=[true,true]"},
    TableRow{"grid_sampler_3d|grid_sampler_3d_backward",
             "grad_output=f(2,2,4,8,8) input=f(2,2,4,8,8) grid=f(2,4,8,8,3) "
             "interpolation_mode=0 padding_mode=0 align_corners=false output_mask=[true,true]"},
    TableRow{"affine_grid_generator|affine_grid_generator_backward",
             "theta=f(2,2,3) grad=f(2,8,8,2) size=[2,4,8,8] align_corners=false"},
    TableRow{"im2col",
             "self=f(2,4,8,8) kernel_size=[2,2] dilation=[1,1] padding=[0,0] stride=[2,2]"},
    TableRow{"col2im",
             "self=f(2,16,16) output_size=[8,8] kernel_size=[2,2] dilation=[1,1] "
             "padding=[0,0] stride=[2,2]"},
    TableRow{"embedding|_embedding_bag*|embedding_bag",
             "weight=f(64,16) indices=i64(32) offsets=s32(8) per_sample_weights=-"},
    TableRow{"embedding_dense_backward|embedding_backward|embedding_sparse_backward",
             "grad|grad_output=f(32,16) indices=i64(32) num_weights=64 padding_idx=-1 "
             "sparse=false"},
    TableRow{"_embedding_bag_dense_backward|_embedding_bag_backward|"
             "_embedding_bag_sparse_backward|_embedding_bag_per_sample_weights_backward",
             "grad=f(8,16) num_weights=64 offset2bag=s8(32) bag_size=i8(8) "
             "maximum_indices=i64(0) mode=0 sparse=false scale_grad_by_freq=false"},
    TableRow{"embedding_renorm", "self=n(64,16) indices=i64(32) max_norm=1. norm_type=2."},
    TableRow{"one_hot", "self=i8(64) num_classes=8"},
    TableRow{"index_select|index_select_backward",
             "self=f(16,16) dim=0 index=i16(32) grad=f(32,16) self_sizes=[16,16]"},
    TableRow{"index_add|index_reduce|index_copy|_index_copy",
             "self=f(16,16) dim=0 index=a(16) source=f(16,16) reduce='mean'"},
    TableRow{"index_fill", "self=f(16,16) dim=0 index=i16(4) value=0.5"},
    TableRow{"index|_unsafe_index", "self=f(32,16) indices=[i32(32)]"},
    TableRow{"index_put|_index_put_impl|_unsafe_index_put",
             "self=f(32,16) indices=[a(32)] values=f(32,16)"},
    TableRow{"_unsafe_masked_index|_unsafe_masked_index_put_accumulate",
             "self=f(32,16) mask=b(32) indices=[i32(32)] fill=0.5 values=f(32,16)"},
    TableRow{"gather|gather_backward|scatter|scatter_add|scatter_reduce|_scatter_reduce",
             "self|src|grad=f(16,16) dim=0 index=i16(16,16) value=0.5"},
    TableRow{"take", "self=f(16,16) index=i256(300)"},
    TableRow{"put", "self=f(16,16) index=a(256) source=f(256)"},
    TableRow{"take_along_dim", "self=f(16,16) indices=i16(16,16) dim=0"},
    TableRow{"masked_scatter|masked_scatter_backward",
             "self|source=f(16,16) mask=b(16,16) grad_output=f(16,16) sizes=[16,16]"},
    TableRow{"masked_fill|masked_select|masked_select_backward",
             "self=f(16,16) mask=b(16,16) value=0.5"},
    TableRow{"repeat_interleave", "self=f(16,16) repeats=i3(16) dim=0"},
    TableRow{"bincount", "self=i16(256) weights=u(256)"},
    TableRow{"searchsorted|bucketize", "sorted_sequence=a(64) boundaries=a(64) self=f(256)"},
    TableRow{"select_scatter", "self=f(16,16) src=f(16) dim=0 index=1"},
    TableRow{"slice_scatter", "self|src=f(16,16) dim=0"},
    TableRow{"diagonal_scatter", "self=f(16,16) src=f(16)"},
    TableRow{"as_strided_scatter|as_strided|as_strided_copy",
             "self=f(16,16) src=f(16,8) size=[16,8] stride=[16,1] storage_offset=0"},
    TableRow{"select_backward", "grad_output=f(16) input_sizes=[16,16] dim=0 index=1"},
    TableRow{"slice_backward",
             "grad_output=f(8,16) input_sizes=[16,16] dim=0 start=0 end=8 step=1"},
    TableRow{"diagonal_backward", "grad_output=f(16) input_sizes=[16,16] offset=0 dim1=0 dim2=1"},
    TableRow{"unfold_backward", "grad_in=f(8,16,2) input_sizes=[16,16] dim=0 size=2 step=2"},
    TableRow{"trace_backward", "grad=f() sizes=[16,16]"},
    TableRow{"value_selecting_reduction_backward",
             "grad=f(16) dim=0 indices=i16(16) sizes=[16,16] keepdim=false"},
    TableRow{"unfold|unfold_copy", "self=f(16,16) dimension=0 size=2 step=2"},
    TableRow{"nll_loss|nll_loss_forward|nll_loss_nd|cross_entropy_loss|multi_margin_loss|"
             "nll_loss_backward|multi_margin_loss_backward|linear_cross_entropy",
             "grad_output=f() self=f(256,8) target=i8(256) weight=u(8) total_weight=o() "
             "reduction=1 ignore_index=-100 p=1 margin=1"},
    TableRow{"nll_loss2d|nll_loss2d_forward|nll_loss2d_backward",
             "grad_output=f() self=f(2,4,8,8) target=i4(2,8,8) weight=u(4) total_weight=o() "
             "reduction=1 ignore_index=-100"},
    TableRow{"multilabel_margin_loss|multilabel_margin_loss_forward|"
             "multilabel_margin_loss_backward",
             "grad_output=f() self=f(32,16) target=i16(32,16) is_target=z(32,16) reduction=1"},
    TableRow{"binary_cross_entropy|binary_cross_entropy_backward|"
             "binary_cross_entropy_with_logits",
             "grad_output=f(16,16) self=u(16,16) target=u(16,16) weight=u(16,16) "
             "pos_weight=u(16) reduction=0"},
    TableRow{"ctc_loss|_ctc_loss|_use_cudnn_ctc_loss",
             "log_probs=f(16,2,16) targets=y7(2,4) input_lengths=[16,16] target_lengths=[4,4]"},
    TableRow{"cosine_embedding_loss", "input1|input2=f(16,16) target=o(16) margin=0.1"},
    TableRow{"triplet_margin_loss|margin_ranking_loss|hinge_embedding_loss",
             "anchor|positive|negative|self|input1|input2|target=f(16,16)"},
    TableRow{"*_loss_backward", "reduction=0"},
    TableRow{"lstm_cell",
             "input=f(16,16) hx=[f(16,16) f(16,16)] w_ih=f(64,16) w_hh=f(64,16) b_ih=f(64) "
             "b_hh=f(64)"},
    TableRow{"gru_cell", "input|hx=f(16,16) w_ih=f(48,16) w_hh=f(48,16) b_ih=f(48) b_hh=f(48)"},
    TableRow{"rnn_tanh_cell|rnn_relu_cell",
             "input|hx=f(16,16) w_ih=f(16,16) w_hh=f(16,16) b_ih=f(16) b_hh=f(16)"},
    TableRow{"lstm",
             "input=f(4,8,16) data=f(32,16) batch_sizes=[8] hx=[f(1,8,16) f(1,8,16)] "
             "params=[f(64,16) f(64,16) f(64) f(64)] has_biases=true num_layers=1 "
             "dropout=0.0 train=true bidirectional=false batch_first=false"},
    TableRow{"gru",
             "input=f(4,8,16) hx=f(1,8,16) params=[f(48,16) f(48,16) f(48) f(48)] "
             "has_biases=true num_layers=1 dropout=0.0 train=true bidirectional=false "
             "batch_first=false"},
    TableRow{"rnn_tanh|rnn_relu",
             "input=f(4,8,16) hx=f(1,8,16) params=[f(16,16) f(16,16) f(16) f(16)] "
             "has_biases=true num_layers=1 dropout=0.0 train=true bidirectional=false "
             "batch_first=false"},
    TableRow{"mkldnn_rnn_layer",
             "input=f(4,8,16) weight0|weight1=f(64,16) weight2|weight3=f(64) hx_|"
             "cx_=f(1,8,16) reverse=false batch_sizes=[] mode=2 hidden_size=16 num_layers=1 "
             "has_biases=true bidirectional=false batch_first=false train=true"},
    TableRow{"_thnn_differentiable_lstm_cell_backward",
             "grad_hy|grad_cy|cx|cy=f(16,16) input_gates|hidden_gates=f(16,64) input_bias|"
             "hidden_bias=f(64)"},
    TableRow{"_thnn_differentiable_gru_cell_backward",
             "grad_hy|hx=f(16,16) input_gates|hidden_gates=f(16,48) input_bias|"
             "hidden_bias=f(48)"},
    TableRow{"_pack_padded_sequence", "input=f(8,4,16) lengths=i1(4) batch_first=false"},
    TableRow{"_pad_packed_sequence",
             "data=f(32,16) batch_sizes=i1(8) batch_first=false padding_value=0. "
             "total_length=8"},
    TableRow{"linalg_cholesky|linalg_cholesky_ex|cholesky|linalg_eigh|_linalg_eigh|"
             "linalg_eigvalsh|linalg_inv|linalg_inv_ex|inverse|linalg_det|_linalg_det|det|"
             "logdet|slogdet|linalg_slogdet|_linalg_slogdet|matrix_exp|linalg_matrix_exp|"
             "linalg_lu|lu|linalg_lu_factor|linalg_lu_factor_ex|_lu_with_info|"
             "linalg_ldl_factor|linalg_ldl_factor_ex|linalg_qr|qr|linalg_svdvals|pinverse|"
             "linalg_pinv|linalg_matrix_power|matrix_power|linalg_eigvals|linalg_matrix_rank|"
             "linalg_cond",
             "self|A|input=p(16,16) n=2 tol=u()"},
    TableRow{"linalg_solve|linalg_solve_ex|_linalg_solve_ex|_spsolve|linalg_lstsq|"
             "linalg_vecdot|linalg_tensorsolve",
             "A|self=p(16,16) B|b|other=f(16,16) rcond=- driver='gelsd'"},
    TableRow{"linalg_tensorinv", "self=w(16,16) ind=1"},
    TableRow{"linalg_solve_triangular|triangular_solve",
             "self=t(16,16) A=t(16,16) B=f(16,16) upper=false"},
    TableRow{"cholesky_solve|cholesky_inverse", "self=f(16,16) input2=t(16,16)"},
    TableRow{"cholesky_inverse", "self=t(16,16)"},
    TableRow{"linalg_lu_solve|lu_solve|linalg_ldl_solve",
             "self|B=f(16,16) LU|LU_data|LD=w(16,16) pivots|LU_pivots=J16(16)"},
    TableRow{"lu_unpack", "LU_data=w(16,16) LU_pivots=J16(16)"},
    TableRow{"ormqr", "self=f(16,16) input2=f(16,16) input3=f(16,16)"},
    TableRow{"linalg_householder_product|orgqr", "self|input=f(16,16) tau|input2=f(16)"},
    TableRow{"linalg_multi_dot|chain_matmul", "tensors|matrices=[f(16,16) f(16,16) f(16,16)]"},
    TableRow{"linalg_cross|cross", "self|input|other=f(32,3) dim=1"},
    TableRow{"mv|addmv", "self=f(256) mat=f(256,16) vec=f(16)"},
    TableRow{"mv", "self=f(256,16)"},
    TableRow{"addr", "self=f(16,16) vec1|vec2=f(16)"},
    TableRow{"outer|ger|linalg_vander|vander", "self|vec2|x=f(16) N=16"},
    TableRow{"dot|vdot|inner", "self|other|tensor=f(256)"},
    TableRow{"addbmm|baddbmm|_baddbmm_mkl",
             "self=f(16,16) batch1|batch2=f(4,16,16) beta=1 alpha=1"},
    TableRow{"baddbmm|_baddbmm_mkl", "self=f(4,16,16)"},
    TableRow{"bmm", "self|mat2=f(4,16,16)"},
    TableRow{"einsum", "equation='ij,jk->ik' tensors=[f(16,16) f(16,16)]"},
    TableRow{"_trilinear", "i1|i2|i3=f(4,8,8) expand1|expand2|expand3=[] sumdim=[2]"},
    TableRow{"bilinear", "input1|input2=f(16,8) weight=f(16,8,8) bias=f(16)"},
    TableRow{"tensordot", "self|other=f(16,16) dims_self=[1] dims_other=[0]"},
    TableRow{"_compute_linear_combination", "input=f(4,16,16) coefficients=f(4,4)"},
    TableRow{"multinomial", "self=u(4,128) num_samples=128 replacement=true"},
    TableRow{"bernoulli|poisson|_standard_gamma|_dirichlet_grad|_sample_dirichlet",
             "self|p=u(16,16) x|alpha|total=u(16,16)"},
    TableRow{"binomial", "count=o(16,16) prob=u(16,16)"},
    TableRow{"normal|normal_functional", "std=u(16,16) mean=f(16,16)"},
    TableRow{"random|geometric", "from=0 to=100 p=0.5"},
    TableRow{"randint|randint_like", "low=0 high=100"},
    TableRow{"randperm", "n=256"},
    TableRow{"normal.float*", "mean=0. std=1."},
    TableRow{"rrelu|rrelu_with_noise|rrelu_with_noise_functional",
             "self=f(16,16) noise=z(16,16) training=true lower=0.1 upper=0.3"},
    TableRow{"native_dropout|dropout|alpha_dropout|feature_dropout|feature_alpha_dropout|"
             "_fused_dropout",
             "self|input=f(16,16) p=0.3 train=true"},
    TableRow{"clamp|clip", "min=-0.5 max=0.5"},
    TableRow{"div|divide|divide_", "rounding_mode='floor'"},
    TableRow{"gelu|gelu_backward", "approximate='tanh'"},
    TableRow{"prelu|_prelu_kernel|_prelu_kernel_backward", "self|grad_output=f(16,16) weight=f(1)"},
    TableRow{"quantile|nanquantile", "self=f(16,256) q=u(2) dim=1"},
    TableRow{"kthvalue|topk", "k=4"},
    TableRow{"roll", "self=f(16,16) shifts=[1] dims=[0]"},
    TableRow{"moveaxis|movedim", "source=[0,1] destination=[1,0]"},
    TableRow{"permute|permute_copy", "self=f(16,16) dims=[1,0]"},
    TableRow{"meshgrid", "tensors=[f(16) f(16)] indexing='ij'"},
    TableRow{"stft", "self=f(256) n_fft=16 return_complex=true window=u(16)"},
    TableRow{"istft", "self=c(9,16) n_fft=16 window=o(16)"},
    TableRow{"_fft_c2r", "self=c(16,9) dim=[1] normalization=0 last_dim_size=16"},
    TableRow{"_fft_r2c", "self=f(16,16) dim=[1] normalization=0 onesided=true"},
    TableRow{"_fft_c2c", "self=c(16,16) dim=[1] normalization=0 forward=true"},
    TableRow{"fft_irfft|fft_irfft2|fft_irfftn|fft_hfft|fft_hfft2|fft_hfftn", "self=c(16,9)"},
    TableRow{"view_as_complex|view_as_complex_copy", "self=f(16,16,2)"},
    TableRow{"view_as_real|view_as_real_copy|imag|_conj|conj_physical|resolve_conj|_neg_view",
             "self=c(16,16)"},
    TableRow{"complex", "real|imag=f(16,16)"},
    TableRow{"polar", "abs|angle=u(16,16)"},
    TableRow{"histc|histogram", "self=f(256) bins=16"},
    TableRow{"histogramdd|_histogramdd_bin_edges|_histogramdd_from_bin_cts",
             "self=f(64,2) bins=[4,4]"},
    TableRow{"segment_reduce", "data=f(32,16) reduce='sum' lengths=q8(4)"},
    TableRow{"scaled_dot_product_attention|_scaled_dot_product_flash_attention_for_cpu|"
             "_scaled_dot_product_attention_math|_scaled_dot_product_flash_attention",
             "query|key|value=f(2,2,16,16) dropout_p=0.0"},
    TableRow{"_scaled_dot_product_flash_attention_for_cpu_backward",
             "grad_out|query|key|value|out=f(2,2,16,16) logsumexp=f(2,2,16) dropout_p=0. "
             "is_causal=false"},
    TableRow{"_native_multi_head_attention",
             "query|key|value=f(2,8,16) embed_dim=16 num_head=2 qkv_weight=f(48,16) "
             "qkv_bias=f(48) proj_weight=f(16,16) proj_bias=f(16)"},
    TableRow{"_transformer_encoder_layer_fwd",
             "src=f(2,8,16) embed_dim=16 num_heads=2 qkv_weight=f(48,16) qkv_bias=f(48) "
             "proj_weight=f(16,16) proj_bias=f(16) use_gelu=false norm_first=false "
             "eps=0.00001 norm_weight_1|norm_weight_2|norm_bias_1|norm_bias_2=u(16) "
             "ffn_weight_1=f(32,16) ffn_bias_1=f(32) ffn_weight_2=f(16,32) ffn_bias_2=f(16)"},
    TableRow{"_transform_bias_rescale_qkv", "qkv=f(2,8,48) qkv_bias=f(48) num_heads=2"},
    TableRow{"linear|mkldnn_linear", "input|self=f(16,16) weight=f(32,16) bias=f(32)"},
    TableRow{"_addmm_activation|addmm", "self=f(16) mat1|mat2=f(16,16)"},
    TableRow{"_int_mm", "self|mat2=x64(32,32)"},
    TableRow{"_weight_int8pack_mm", "self=B(16,32) mat2=x64(16,32) scales=B(16)"},
    TableRow{"fake_quantize_per_channel_affine*",
             "self=f(16,16) scale=u(16) zero_point=j1(16) axis=0 quant_min=0 quant_max=255"},
    TableRow{"_fake_quantize_learnable_per_channel_affine*",
             "self|grad=f(16,16) scale=u(16) zero_point=z(16) axis=0 quant_min=0 "
             "quant_max=255 grad_factor=1."},
    TableRow{"fake_quantize_per_tensor_affine*",
             "self=f(16,16) scale=0.1 zero_point=0 quant_min=0 quant_max=255"},
    TableRow{"_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
             "self=f(16,16) scale=u(1) zero_point=j1(1) fake_quant_enabled=i1(1) quant_min=0 "
             "quant_max=255"},
    TableRow{"_fake_quantize_learnable_per_tensor_affine*",
             "self|grad=f(16,16) scale=u(1) zero_point=z(1) quant_min=0 quant_max=255 "
             "grad_factor=1."},
    TableRow{"fused_moving_avg_obs_fake_quant|_fused_moving_avg_obs_fq_helper*",
             "self=f(16,16) observer_on|fake_quant_on=o(1) running_min=z(1) running_max=o(1) "
             "scale=u(1) zero_point=j1(1) averaging_const=0.1 quant_min=0 quant_max=255 "
             "ch_axis=0"},
    TableRow{"quantize_per_tensor|quantize_per_tensor_dynamic",
             "self=f(16,16) scale=0.1 zero_point=0 dtype=@quint8 reduce_range=false"},
    TableRow{"_foreach_add|_foreach_mul|_foreach_div", "other=f()"},
    TableRow{"_foreach_addcdiv|_foreach_addcmul|_foreach_pow", "scalars=[0.5,0.25]"},
    TableRow{"_amp_foreach_non_finite_check_and_unscale",
             "self=[f(16,16) f(16,16)] found_inf=z(1) inv_scale=o(1)"},
    TableRow{"_amp_update_scale",
             "self=o(1) growth_tracker=j1(1) found_inf=z(1) scale_growth_factor=2. "
             "scale_backoff_factor=0.5 growth_interval=2"},
    TableRow{"_fused_adam|_fused_adamw",
             "self|grads|exp_avgs|exp_avg_sqs|max_exp_avg_sqs=[u(16,16)] state_steps=[o()] "
             "lr=0.01 beta1=0.9 beta2=0.99 weight_decay=0.1 eps=0.00001 amsgrad=true "
             "maximize=false"},
    TableRow{"_fused_sgd",
             "self|grads|momentum_buffer_list=[u(16,16)] weight_decay=0.1 momentum=0.9 "
             "lr=0.01 dampening=0. nesterov=false maximize=false is_first_step=false"},
    TableRow{"_fused_adagrad",
             "self|grads|state_sums=[u(16,16)] state_steps=[o()] lr=0.01 lr_decay=0.1 "
             "weight_decay=0.1 eps=0.00001 maximize=false"},
    TableRow{"_sobol_engine_draw",
             "quasi=z(8) n=32 sobolstate=a(8,30) dimension=8 num_generated=0 dtype=-"},
    TableRow{"_sobol_engine_initialize_state|_sobol_engine_scramble",
             "self=i8(8,30) n=1 sobolstate=i8(8,30) ltm=i2(8,30,30) dimension=8 "
             "num_generated=0"},
    TableRow{"sparse_coo_tensor|_sparse_coo_tensor_unsafe",
             "indices=a(2,128) values=f(128) size=[256,256]"},
    TableRow{"_convert_indices_from_csr_to_coo", "crow_indices=J128(17) col_indices=j16(16)"},
    TableRow{"_convert_indices_from_coo_to_csr", "self=s16(128) size=16"},
    TableRow{"_cdist_backward|cdist|_cdist_forward|_euclidean_dist",
             "x1|x2=f(16,16) p=2. compute_mode=- cdist=u(16,16) grad=f(16,16)"},
    TableRow{"_pdist_forward|pdist", "self=f(32,8) p=2."},
    TableRow{"_pdist_backward", "grad|grad_output=f(496) self=f(32,8) p=2. pdist=u(496)"},
    TableRow{"unflatten|_unsafe_view|view|reshape|_reshape_alias|view_copy|_reshape_copy|"
             "_reshape_alias_copy",
             "self=f(16,16) size|shape|sizes=[8,32] stride=[32,1] dim=0"},
    TableRow{"unflatten", "sizes=[4,4]"},
    TableRow{"unflatten_dense_tensors", "flat=f(512) tensors=[f(16,16) f(16,16)]"},
    TableRow{"split_with_sizes|split_with_sizes_copy|unsafe_split_with_sizes",
             "self=f(16,16) split_sizes=[8,8]"},
    TableRow{"split_copy", "self=f(16,16) split_size=8 out=[z(8,16) z(8,16)]"},
    TableRow{"expand|expand_copy|broadcast_to", "self=f(1,16) size=[16,16]"},
    TableRow{"sum_to_size|_sum_to_size", "self=f(16,16) size=[1,16]"},
    TableRow{"narrow|narrow_copy", "start=0 length=8"},
    TableRow{"constant_pad_nd", "pad=[1,1]"},
    TableRow{"combinations", "self=f(32)"},
    TableRow{"cartesian_prod", "tensors=[f(16) f(16)]"},
    TableRow{"cumulative_trapezoid|trapezoid|trapz", "y|x=f(16,16)"},
    TableRow{"empty_permuted", "size=[16,16] physical_layout=[1,0]"},
    TableRow{"new_full|full|full_like|new_zeros|zeros|ones", "size=[16,16] fill_value=0.5"},
    TableRow{"arange|range|linspace|logspace|_dim_arange", "start=0 end=256 steps=256 step=1"},
    TableRow{"bitwise_left_shift|bitwise_right_shift|__lshift__|__rshift__|__ilshift__|"
             "__irshift__",
             "other=2"},
    TableRow{"log|log2|log10|sqrt|rsqrt|digamma|lgamma|logit|special_*", "self=u(16,16)"},
    TableRow{"acosh|arccosh", "self=o(16,16)"},
    TableRow{"xlogy|special_xlog1py|special_zeta|float_power|pow|igamma|igammac|"
             "special_gammainc|special_gammaincc",
             "self|exponent|other=u(16,16)"},
    TableRow{"mvlgamma|special_multigammaln", "self=o(16,16) p=1"},
    TableRow{"polygamma", "n=1 self=u(16,16)"},
    TableRow{"tril_indices|triu_indices", "row=16 col=16"},
    TableRow{"bartlett_window|blackman_window|hann_window|hamming_window|kaiser_window",
             "window_length=256"},
    TableRow{"tensor_split", "indices=[4,8] sections=2 tensor_indices_or_sections=a(2)"},
    TableRow{"alias_with_sizes", "self=f(16,16)"},
    TableRow{"logspace", "base=2."},
    TableRow{"cov|corrcoef", "self=f(16,32)"},
    TableRow{"renorm", "p=2 dim=0 maxnorm=1"},
    TableRow{"norm|native_norm|linalg_vector_norm|linalg_norm|linalg_matrix_norm",
             "p=2 ord=2 dim=[0,1]"},
    TableRow{"dist", "p=2"},
    TableRow{"cosine_similarity|pairwise_distance", "x1|x2=f(16,16) dim=1"},
    TableRow{"adaptive_max_pool2d|huber_loss", "delta=1."},
    TableRow{"put|index_put", "accumulate=true"},
    TableRow{"to_sparse|_to_sparse", "self=f(16,16)"},
    TableRow{"_safe_softmax|softmax|log_softmax|_softmax|_log_softmax",
             "self=f(16,16) dim=1 half_to_float=false"},
    TableRow{"_softmax_backward_data|_log_softmax_backward_data",
             "grad_output|output=f(16,16) dim=1 input_dtype=@float"},
    TableRow{"_make_dep_token", "pin_memory=-"},
    TableRow{"_index_put_impl", "unsafe=false"},
    TableRow{"narrow.Tensor", "start=i1()"},
    TableRow{"unique_dim|unique_dim_consecutive|unique_consecutive|_unique|_unique2",
             "self=i4(64,2) dim=0"},
    TableRow{"nested_to_padded_tensor", "padding=0."},
};

struct Uncalled {
  std::string_view name;
  std::string_view reason;
};
constexpr std::array kUncalled = {
    Uncalled{"aten::from_file", "maps a file"},
    // These composite kernels run above neap's dispatch key and write through accessors. So neap
    // does not see their writes to a tensor of a scope. See docs/design/limits.md.
    Uncalled{"aten::_sobol_engine_ff_", "writes through raw pointers, unseen"},
    Uncalled{"aten::_sobol_engine_initialize_state_", "writes through raw pointers, unseen"},
    Uncalled{"aten::_sobol_engine_scramble_", "writes through raw pointers, unseen"},
    Uncalled{"aten::_print", "prints"},
    Uncalled{"aten::fbgemm_pack_gemm_matrix_fp16", "returns a pointer, not numbers"},
};

}  // namespace

std::span<const TableRow> table() { return kRows; }

std::string_view why_not_to_call(std::string_view name) {
  for (const Uncalled& uncalled : kUncalled) {
    if (uncalled.name == name) return uncalled.reason;
  }
  return {};
}

}  // namespace neap::test
