// SPDX-License-Identifier: Apache-2.0
//
// What the Python classes of layers are made of: a layer of the library, contexts for its calls, and which of its
// weights Python looks at. Calls run without the GIL, so any number of threads may call a built layer at once.
// Contexts that no call uses are shared by all layers, because each takes memory and address space, and are gone with
// the last layer.
#pragma once

#include <attn/attention.hpp>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "host/python/src/hooks.hpp"

namespace attn::python {

// A layer on its way into a Python object.
struct Core {
  std::unique_ptr<Attention> layer;
};

class PyLayer {
 public:
  explicit PyLayer(Core& core);
  ~PyLayer();
  PyLayer(const PyLayer&) = delete;
  PyLayer& operator=(const PyLayer&) = delete;

  [[nodiscard]] Attention& layer() const { return *layer_; }

  // A context of the dtype, from those that no call uses; give_back() takes it when the call is over.
  [[nodiscard]] static std::unique_ptr<Context> borrow(attn_dtype dtype);
  static void give_back(std::unique_ptr<Context> context, attn_dtype dtype);

  // The dtype of the next call whose first floating input has dtype `given`.
  [[nodiscard]] attn_dtype dtype_for(attn_dtype given) const;

  // While arrays over a weight are alive, Python may have written to it: begin_call() has what was made from it made
  // anew.
  void shown(const std::string& weight);
  void hidden(const std::string& weight);
  void begin_call();

 private:
  std::unique_ptr<Attention> layer_;
  std::mutex mutex_;
  std::vector<std::pair<std::string, int>> shown_;  // and how many arrays look at it
};

void register_layer(nb::module_& m);

}  // namespace attn::python
