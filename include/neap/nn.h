// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/nn.h: plain models of LibTorch modules, for training, examples and benchmarks, without
// checkpointing.
//
//   neap::nn::ResNet model(neap::nn::ResNetOptions{.channels = 64, .blocks = 50, .classes = 1000});
//   at::Tensor scores = model->forward(pictures);  // (B, 3, H, W) -> (B, 1000)
//
// Their blocks are public, and models with more than blocks have stem() and head(). So a program
// can put neap::checkpoint() around each block (neap/models.h has models that do):
//
//   at::Tensor x = model->stem(pictures);
//   for (auto& block : model->blocks) {
//     x = neap::checkpoint([&](at::Tensor in) { return block->forward(in); }, x);
//   }
//   at::Tensor scores = model->head(x);
//
// B: rows of a batch, C: channels, H, W: height and width, T: tokens, D: width of a model.
// Errors: constructors throw InvalidArgument with the option and its value.
#pragma once

#include <neap/base.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/common.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

namespace neap::nn {

enum class Activation { GELU, ReLU };

struct MLPOptions {
  std::int64_t in = 1024;
  std::int64_t width = 1024;
  std::int64_t out = 1024;
  std::int64_t layers = 24;
  bool activate_last = true;  // GELU after the last layer too
};

// Linear layers with an activation between them: GELU when made of options.
class NEAP_EXPORT MLPImpl : public torch::nn::Module {
 public:
  explicit MLPImpl(const MLPOptions& options);
  // widths: (layers,), the output width of each layer.
  MLPImpl(std::int64_t in, const std::vector<std::int64_t>& widths, Activation activation,
          bool activate_last);
  // x: (B, in), or anything whose rows flatten to `in`. Returns (B, out).
  at::Tensor forward(const at::Tensor& x);

  std::vector<torch::nn::Sequential> blocks;  // a Linear, and its activation if it has one
};
TORCH_MODULE(MLP);

// conv 3x3, BatchNorm, ReLU, dropout, conv 3x3, BatchNorm, plus the input, ReLU.
// (B, C, H, W) -> (B, C, H, W).
class NEAP_EXPORT ResidualBlockImpl : public torch::nn::Module {
 public:
  ResidualBlockImpl(std::int64_t channels, double dropout);
  at::Tensor forward(const at::Tensor& x);

 private:
  torch::nn::Conv2d conv1_, conv2_;
  torch::nn::BatchNorm2d norm1_, norm2_;
  torch::nn::Dropout dropout_;
};
TORCH_MODULE(ResidualBlock);

struct ResNetOptions {
  std::int64_t in_channels = 3;
  std::int64_t channels = 32;
  std::int64_t blocks = 16;
  std::int64_t classes = 10;
  double dropout = 0.1;
  std::int64_t stem_kernel = 3;  // odd
  std::int64_t stem_stride = 1;
  // Indices of blocks, from 0, that are followed by a conv 3x3 of stride 2 to twice the channels,
  // BatchNorm, ReLU.
  std::vector<std::int64_t> downsample_after = {};
};

// The design of "Deep Residual Learning for Image Recognition", He et al., arXiv 1512.03385, with
// one width a stage.
class NEAP_EXPORT ResNetImpl : public torch::nn::Module {
 public:
  explicit ResNetImpl(const ResNetOptions& options);
  // x: (B, in_channels, H, W). Returns (B, classes).
  at::Tensor forward(const at::Tensor& x);
  at::Tensor stem(const at::Tensor& x);  // (B, channels, H', W')
  at::Tensor head(const at::Tensor& x);  // (B, C, H, W) -> (B, classes)

  // A residual block, and its transition if one follows.
  std::vector<torch::nn::Sequential> blocks;

 private:
  std::int64_t in_channels_;
  torch::nn::Sequential stem_;
  torch::nn::Linear classifier_{nullptr};
};
TORCH_MODULE(ResNet);

// conv 3x3, conv 3x3; or, as a bottleneck, conv 1x1, conv 3x3, conv 1x1 to four times the channels.
// BatchNorm after each, ReLU between them; plus the input; ReLU. An input of another shape first
// passes a conv 1x1 with BatchNorm.
// (B, in, H, W) -> (B, channels or 4 x channels, H / stride, W / stride).
class NEAP_EXPORT StageBlockImpl : public torch::nn::Module {
 public:
  StageBlockImpl(std::int64_t in, std::int64_t channels, std::int64_t stride, bool bottleneck);
  at::Tensor forward(const at::Tensor& x);

 private:
  std::vector<torch::nn::Conv2d> convolutions_;
  std::vector<torch::nn::BatchNorm2d> norms_;
  torch::nn::Sequential downsample_{nullptr};
};
TORCH_MODULE(StageBlock);

struct ImageNetResNetOptions {
  std::int64_t depth = 50;  // 18, 34, 50, 101 or 152
  std::int64_t in_channels = 3;
  std::int64_t classes = 1000;
};

// ResNet-18 to ResNet-152 of "Deep Residual Learning for Image Recognition", He et al.,
// arXiv 1512.03385: conv 7x7 of stride 2, max-pool, four stages of blocks, mean, Linear. Parameters
// and buffers have torchvision's names (conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc), so
// its weights can be loaded. As in torchvision, the stride of a bottleneck is in its conv 3x3,
// while the paper has it in the first conv 1x1.
class NEAP_EXPORT ImageNetResNetImpl : public torch::nn::Module {
 public:
  explicit ImageNetResNetImpl(const ImageNetResNetOptions& options = {});
  // x: (B, in_channels, H, W). Returns (B, classes).
  at::Tensor forward(const at::Tensor& x);
  at::Tensor stem(const at::Tensor& x);  // (B, 64, H / 4, W / 4)
  at::Tensor head(const at::Tensor& x);  // (B, C, H, W) -> (B, classes)

  std::vector<StageBlock> blocks;  // of all stages, in order

 private:
  torch::nn::Conv2d conv1_;
  torch::nn::BatchNorm2d bn1_;
  torch::nn::Linear fc_{nullptr};
};
TORCH_MODULE(ImageNetResNet);

// LayerNorm, attention written out, dropout, plus the input; LayerNorm, Linear to four times the
// width, GELU, Linear back, dropout, plus the input. (B, T, D) -> (B, T, D).
class NEAP_EXPORT TransformerBlockImpl : public torch::nn::Module {
 public:
  // causal: a token attends only to itself and the tokens before it.
  TransformerBlockImpl(std::int64_t width, std::int64_t heads, double dropout, bool causal);
  at::Tensor forward(const at::Tensor& x);
  [[nodiscard]] std::int64_t heads() const { return heads_; }
  [[nodiscard]] bool causal() const { return causal_; }

 private:
  at::Tensor attend(const at::Tensor& x);

  std::int64_t heads_;
  bool causal_;
  torch::nn::LayerNorm norm1_, norm2_;
  torch::nn::Linear to_qkv_, project_, up_, down_;
  torch::nn::Dropout dropout_;
};
TORCH_MODULE(TransformerBlock);

struct TransformerLayerOptions {
  std::int64_t dim_feedforward = 2048;
  double dropout = 0.1;
  Activation activation = Activation::ReLU;
  bool norm_first = false;   // LayerNorm before attention and feed-forward, not after their sums
  bool batch_first = false;  // (B, T, D) instead of (T, B, D)
};

// torch::nn::TransformerEncoderLayer with two more options, norm_first and batch_first. Same
// parameter names, same order of random numbers, and without the two options the same bits.
class NEAP_EXPORT TransformerEncoderLayerImpl : public torch::nn::Module {
 public:
  TransformerEncoderLayerImpl(std::int64_t d_model, std::int64_t nhead,
                              const TransformerLayerOptions& options = {});

  // src: (T, B, D), or (B, T, D) with batch_first. Returns the same shape. Undefined masks mask
  // nothing.
  // src_mask: (T, T), row: the attending token. bool: true where it must not attend; or of src's
  // type: added to the scores.
  // src_key_padding_mask: (B, T) bool, true for tokens to which none may attend. A token that may
  // attend to nothing gets NaN.
  // Throws: InvalidArgument, with shapes or types, when they do not match.
  at::Tensor forward(const at::Tensor& src, const at::Tensor& src_mask = {},
                     const at::Tensor& src_key_padding_mask = {});
  // The halves of forward(), each with its sum and its norm: forward() applies both, attention
  // first.
  at::Tensor attention_half(const at::Tensor& src, const at::Tensor& src_mask,
                            const at::Tensor& src_key_padding_mask);
  at::Tensor feed_forward_half(const at::Tensor& x);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})

 private:
  TransformerLayerOptions options_;
  torch::nn::MultiheadAttention self_attn_;
  torch::nn::Linear linear1_;
  torch::nn::Dropout dropout_;
  torch::nn::Linear linear2_;
  torch::nn::LayerNorm norm1_, norm2_;
  torch::nn::Dropout dropout1_, dropout2_;
};
TORCH_MODULE(TransformerEncoderLayer);

// num_layers layers, and with final_norm a LayerNorm after the last. Names as in
// torch::nn::TransformerEncoder.
class NEAP_EXPORT TransformerEncoderImpl : public torch::nn::Module {
 public:
  TransformerEncoderImpl(std::int64_t num_layers, std::int64_t d_model, std::int64_t nhead,
                         const TransformerLayerOptions& options = {}, bool final_norm = false);
  // As TransformerEncoderLayer's.
  at::Tensor forward(const at::Tensor& src, const at::Tensor& src_mask = {},
                     const at::Tensor& src_key_padding_mask = {});
  at::Tensor head(const at::Tensor& x);  // the final norm; x itself without one

  std::vector<TransformerEncoderLayer> layers;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})

 private:
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(TransformerEncoder);

struct GPTOptions {
  std::int64_t vocabulary = 256;
  std::int64_t context = 256;  // most tokens of a row
  std::int64_t width = 256;
  std::int64_t heads = 4;
  std::int64_t layers = 6;
  double dropout = 0.1;
};

// A language model of pre-norm transformer blocks.
class NEAP_EXPORT GPTImpl : public torch::nn::Module {
 public:
  explicit GPTImpl(const GPTOptions& options);
  // tokens: (B, T) int64, T <= context. Returns (B, T, vocabulary).
  at::Tensor forward(const at::Tensor& tokens);
  at::Tensor stem(const at::Tensor& tokens);  // (B, T, D)
  at::Tensor head(const at::Tensor& x);

  std::vector<TransformerBlock> blocks;

 private:
  std::int64_t context_;
  torch::nn::Embedding words_, places_;
  torch::nn::Dropout dropout_;
  torch::nn::LayerNorm norm_;
  torch::nn::Linear scores_;
};
TORCH_MODULE(GPT);

struct PatchTransformerOptions {
  std::int64_t image = 28;  // height and width
  std::int64_t channels = 1;
  std::int64_t patch = 4;  // must divide image
  std::int64_t width = 64;
  std::int64_t heads = 4;
  std::int64_t layers = 4;
  std::int64_t classes = 10;
  double dropout = 0.1;
};

// A classifier of pictures that are cut into patches, after "An Image is Worth 16x16 Words",
// Dosovitskiy et al., arXiv 2010.11929, with the mean over the patches instead of a class token.
class NEAP_EXPORT PatchTransformerImpl : public torch::nn::Module {
 public:
  explicit PatchTransformerImpl(const PatchTransformerOptions& options);
  // x: (B, channels, image, image). Returns (B, classes).
  at::Tensor forward(const at::Tensor& x);
  at::Tensor stem(const at::Tensor& x);  // (B, T, D), T = (image / patch) squared
  at::Tensor head(const at::Tensor& x);

  std::vector<TransformerBlock> blocks;

 private:
  std::int64_t image_;
  torch::nn::Conv2d patches_;
  torch::nn::Embedding places_;
  torch::nn::Dropout dropout_;
  torch::nn::LayerNorm norm_;
  torch::nn::Linear scores_;
};
TORCH_MODULE(PatchTransformer);

struct UNetOptions {
  std::int64_t in_channels = 3;
  std::int64_t classes = 4;
  std::vector<std::int64_t> widths = {16, 32, 64, 128};  // one for each level
};

// "U-Net: Convolutional Networks for Biomedical Image Segmentation", Ronneberger et al.,
// arXiv 1505.04597, with padding and BatchNorm.
class NEAP_EXPORT UNetImpl : public torch::nn::Module {
 public:
  explicit UNetImpl(const UNetOptions& options);
  // x: (B, in_channels, H, W), H and W divisible by 2^(levels - 1). Returns (B, classes, H, W).
  at::Tensor forward(const at::Tensor& x);

  std::vector<torch::nn::Sequential> down;       // two convolutions for each level, from the finest
  std::vector<torch::nn::ConvTranspose2d> grow;  // from the coarsest
  std::vector<torch::nn::Sequential> up;  // two convolutions on the upsampled tensor and the skip
  torch::nn::Conv2d scores{nullptr};
};
TORCH_MODULE(UNet);

}  // namespace neap::nn
