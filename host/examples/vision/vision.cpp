// SPDX-License-Identifier: Apache-2.0
//
// vision [PICTURE.pgm]: a window transformer (Liu et al. 2021) reads handwritten digits. Every pixel of the 8 x 8 is a
// token. Attention stays inside windows of 4 x 4; every second block sees the image rolled by half a window, so that
// windows meet. Seams are not masked: at its border a digit is empty.
//
// Prints the share of 360 test images that are read rightly, and for one image of each digit where its attention goes:
// what each pixel receives from its window, in all blocks, as text and as a grey picture.
// Exit code 0: the share is at least the one that README.md states; 1: not.
#include <attn/config.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "transformer.hpp"

namespace {

using attn::Array;

constexpr double kWanted = 0.95;  // README.md
constexpr int64_t kSide = 8, kPixels = kSide * kSide, kWindow = 4, kShift = kWindow / 2;

// Tokens of (batch, 64, dim) moved by `shift` pixels along both axes, around the border.
Array rolled(const Array& x, int64_t shift) {
  const int64_t dim = x.shape()[2];
  Array y = Array::uninitialized(ATTN_F32, x.shape());
  for (int64_t i = 0; i < x.shape()[0] * kPixels; ++i) {
    const int64_t row = (i % kPixels / kSide + kSide + shift) % kSide,
                  column = (i + kSide + shift) % kSide;
    std::copy_n(x.data<float>() + i * dim, dim,
                y.data<float>() + (i / kPixels * kPixels + row * kSide + column) * dim);
  }
  return y;
}

class Model {
 public:
  explicit Model(const std::string& directory)
      : file_(directory + "/model.safetensors"),
        transformer_(attn::load_config(directory + "/model.json", "model").value(),
                     [&](const std::string& name) { return file_.read(name); }),
        embedding_(file_.read("embedding")),
        positions_(file_.read("positions")) {}

  // images (batch, 8, 8) -> logits (batch, 10).
  [[nodiscard]] Array operator()(const Array& images) const {
    Array x = embed(images);
    for (size_t n = 0; n < transformer_.blocks.size(); ++n) x = block(n, std::move(x));
    const Array all = transformer_.head->forward(transformer_.norm->forward(x));
    const int64_t classes = all.shape()[2];
    Array logits(ATTN_F32, {images.shape()[0], classes});  // sums over the pixels
    for (int64_t i = 0; i < all.size(); ++i)
      logits.data<float>()[i / (kPixels * classes) * classes + i % classes] += all.data<float>()[i];
    return logits;
  }

  // What each pixel receives in each block, the sum over queries and the mean over heads: (blocks, 64) of one image.
  [[nodiscard]] std::vector<Array> attended(const Array& image) const {
    std::vector<Array> received;
    Array x = embed(image);
    for (size_t n = 0; n < transformer_.blocks.size(); ++n) {
      attn::Context context;
      context.observe({.names = {"column_mass"}});
      const parts::Block& b = transformer_.blocks[n];
      const Array in = b.norm_1->forward(rolled(x, n % 2 ? -kShift : 0));
      b.attention->forward(context, std::vector<attn::Input>{in});
      received.push_back(
          rolled(pixels_of(context.take_observed().at(0).value), n % 2 ? kShift : 0));
      x = block(n, std::move(x));
    }
    return received;
  }

 private:
  [[nodiscard]] Array embed(const Array& images) const {
    const int64_t dim = embedding_.size();
    Array x = Array::uninitialized(ATTN_F32, {images.shape()[0], kPixels, dim});
    for (int64_t i = 0; i < x.size(); ++i)
      x.data<float>()[i] = images.data<float>()[i / dim] * embedding_.data<float>()[i % dim] +
                           positions_.data<float>()[i % (kPixels * dim)];
    return x;
  }
  [[nodiscard]] Array block(size_t n, Array x) const {
    if (n % 2 == 0) return transformer_.blocks[n](std::move(x));
    return rolled(transformer_.blocks[n](rolled(x, -kShift)), kShift);
  }
  // (windows, heads, 16) -> (1, 64, 1)
  [[nodiscard]] static Array pixels_of(const Array& mass) {
    Array pixels(ATTN_F32, {1, kPixels, 1});
    const int64_t heads = mass.shape()[1], cells = mass.shape()[2];
    for (int64_t i = 0; i < mass.size(); ++i) {
      const int64_t window = i / (heads * cells), cell = i % cells;
      const int64_t row = window / (kSide / kWindow) * kWindow + cell / kWindow;
      const int64_t column = window % (kSide / kWindow) * kWindow + cell % kWindow;
      pixels.data<float>()[row * kSide + column] +=
          mass.data<float>()[i] / static_cast<float>(heads);
    }
    return pixels;
  }

  attn::SafetensorsFile file_;
  parts::Transformer transformer_;
  Array embedding_, positions_;
};

// A grey picture of tiles, each 8 x 8 values from 0 to 1, and its text.
class Picture {
 public:
  // What is below `least` is black, above `most` white.
  void add(const float* values, float least, float most) {
    std::vector<float>& tile = tiles_.emplace_back(kPixels);
    for (size_t i = 0; i < tile.size(); ++i)
      tile[i] = std::clamp((values[i] - least) / (most - least), 0.0F, 1.0F);
  }
  void print(size_t columns) const {
    constexpr std::string_view kShades = " .:-=+*#%@";
    for (size_t first = 0; first < tiles_.size(); first += columns)
      for (size_t row = 0; row <= kSide; ++row) {
        for (size_t tile = first; tile < first + columns && row < kSide; ++tile) {
          for (size_t i = row * kSide; i < (row + 1) * kSide; ++i) {
            const char shade = kShades[static_cast<size_t>(tiles_[tile][i] * 9.99F)];
            std::printf("%c%c", shade, shade);
          }
          std::printf("   ");
        }
        std::printf("\n");
      }
  }
  // Eight by eight dots a value, a gap of one value between tiles.
  void write(const std::string& path, size_t columns) const {
    constexpr size_t kDots = 8, kTile = (kSide + 1) * kDots;
    const size_t width = columns * kTile, height = tiles_.size() / columns * kTile;
    std::string dots(width * height, '\x80');
    for (size_t tile = 0; tile < tiles_.size(); ++tile)
      for (size_t y = 0; y < kSide * kDots; ++y)
        for (size_t x = 0; x < kSide * kDots; ++x)
          dots[(tile / columns * kTile + y) * width + tile % columns * kTile + x] =
              static_cast<char>(
                  static_cast<unsigned char>(tiles_[tile][y / kDots * kSide + x / kDots] * 255));
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << width << ' ' << height << "\n255\n" << dots;
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written; check the directory");
  }

 private:
  std::vector<std::vector<float>> tiles_;
};

}  // namespace

int main(int argc, char** argv) try {
  const std::string folder = ATTN_EXAMPLE_DIRECTORY;
  const Model model(folder);
  const attn::SafetensorsFile data(folder + "/../train_digits/digits.safetensors");
  const Array images = data.read("test_images");
  const std::vector<int32_t> labels = data.read("test_labels").to_vector<int32_t>();
  const Array logits = model(images);
  const int64_t classes = logits.shape()[1];
  int64_t right = 0;
  for (size_t n = 0; n < labels.size(); ++n) {
    const float* z = logits.data<float>() + static_cast<int64_t>(n) * classes;
    right += std::max_element(z, z + classes) - z == labels[n] ? 1 : 0;
  }
  const double share = static_cast<double>(right) / static_cast<double>(labels.size());

  Picture picture;
  size_t columns = 0;
  for (int32_t digit = 0; digit < 10; ++digit) {
    const auto n = std::find(labels.begin(), labels.end(), digit) - labels.begin();
    const Array image = Array::copy_of({images.data<float>() + n * kPixels, {1, kSide, kSide}});
    picture.add(image.data<float>(), 0, 1);
    const std::vector<Array> received = model.attended(image);
    // An even share is 1; three of them are white.
    for (const Array& pixels : received) picture.add(pixels.data<float>(), 0, 3);
    columns = 1 + received.size();
  }
  std::printf(
      "The image, and what each of its pixels receives in each block (black: nothing, white: three "
      "even shares)\n\n");
  picture.print(columns);
  if (argc > 1) picture.write(argv[1], columns);
  std::printf("%lld of %zu test images: %.2f %% (README.md: at least %.0f %%)\n",
              static_cast<long long>(right), labels.size(), 100 * share, 100 * kWanted);
  return share >= kWanted ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "vision: %s\n", attn::message_of(e).c_str());
  return 1;
}
