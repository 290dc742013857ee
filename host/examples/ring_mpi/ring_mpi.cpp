// SPDX-License-Identifier: Apache-2.0
//
// One sequence on several processes: each computes its own tokens, and then checks them against the whole.
#include <attn/factory.hpp>
#include <attn/mpi.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

constexpr int64_t kBatch = 2, kDim = 64;

attn::Array numbers(int64_t tokens, uint64_t state) {
  attn::Array a(ATTN_F32, {kBatch, tokens, kDim});
  for (int64_t i = 0; i < a.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    a.data<float>()[i] = static_cast<float>(state >> 40) * 0x1p-23F - 1.0F;
  }
  return a;
}

// Tokens [begin, end) of (batch, seq, dim): a view, nothing is copied.
attn::ConstView tokens(const attn::Array& a, attn::TokenRange range) {
  attn::ConstView v = a.view();
  v.data = a.data<float>() + range.begin * v.stride[1];
  v.shape[1] = range.size();
  return v;
}

struct Result {
  attn::Array output, input_gradient, weight_gradient;
};

// communicator nullptr: the whole sequence in this process.
Result run(attn::Attention& layer, const attn::ConstView& x, const attn::ConstView& cotangent,
           attn::Communicator* communicator) {
  attn::Context ctx;
  attn::Gradients gradients(layer);
  const std::vector<attn::Input> inputs{x}, cotangents{cotangent};
  layer.forward(ctx, inputs, {.record = true, .communicator = communicator});
  layer.backward(ctx, cotangents, gradients);
  return {attn::Array::copy_of(*ctx.output()), attn::Array::copy_of(*ctx.input_gradient("inputs")),
          gradients.weight("w_v/kernel")->clone()};
}

// Largest difference as a part of the largest magnitude of b.
double difference(const attn::Array& a, const attn::ConstView& whole) {
  const attn::Array b = attn::Array::copy_of(whole);
  double most = 0, magnitude = 1e-30;
  for (int64_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::fabs(static_cast<double>(a.data<float>()[i] - b.data<float>()[i])));
    magnitude = std::max(magnitude, std::fabs(static_cast<double>(b.data<float>()[i])));
  }
  return most / magnitude;
}

// True when this process' part is right.
bool compare(attn::Communicator& ranks, int64_t seq) {
  const attn::TokenRange own = attn::sequence_part(seq, ranks.rank(), ranks.size());
  const auto layer = attn::create_attention_layer(
      "ring", {{"dim", kDim}, {"num_heads", 4}, {"qk_norm_type", "rms_norm"}});
  layer->build({attn::Shape{kBatch, seq, kDim}}, {.seed = 1});  // the same weights everywhere
  const attn::Array x = numbers(seq, 1), cotangent = numbers(seq, 2);

  const Result part = run(*layer, tokens(x, own), tokens(cotangent, own), &ranks);
  const Result whole = run(*layer, x, cotangent, nullptr);
  const double output = difference(part.output, tokens(whole.output, own));
  const double input = difference(part.input_gradient, tokens(whole.input_gradient, own));
  const double weight = difference(part.weight_gradient, whole.weight_gradient);
  const bool right = output <= 1e-5 && input <= 5e-4 && weight <= 5e-4;

  // What all found, in the order of the ranks.
  std::vector<double> found(static_cast<size_t>(4 * ranks.size()));
  double* mine = found.data() + 4 * ranks.rank();
  mine[0] = output, mine[1] = input, mine[2] = weight, mine[3] = right ? 0 : 1;
  ranks.all_reduce(found);
  double wrong = 0;
  for (int r = 0; r < ranks.size(); ++r) {
    const double* d = found.data() + 4 * r;
    wrong += d[3];
    const attn::TokenRange range = attn::sequence_part(seq, r, ranks.size());
    if (ranks.rank() == 0)
      std::cout << "rank " << r << ", tokens " << range.begin << " to " << range.end
                << ": differences of output " << d[0] << ", input gradient " << d[1]
                << ", weight gradient " << d[2] << (d[3] == 0 ? "" : "  WRONG") << '\n';
  }
  return wrong == 0;
}

// A mask of a wrong shape on the last rank: all ranks must throw, and the group stays usable.
bool errors_reach_all(attn::Communicator& ranks) {
  const auto layer = attn::create_attention_layer("ring", {{"dim", kDim}, {"num_heads", 4}});
  layer->build({attn::Shape{kBatch, 4, kDim}}, {.seed = 1});
  const attn::Array x = numbers(4, 1);
  const bool last = ranks.rank() == ranks.size() - 1;
  const attn::Array mask(ATTN_F32, {kBatch, last ? int64_t{5} : int64_t{4}});
  try {
    (void)layer->forward({x, mask}, {.communicator = &ranks});
  } catch (const attn::InvalidArgument&) {
    return true;
  }
  return false;
}

// The last rank gives up: the others must not wait for it. Uses the communicator up.
bool failure_wakes_all(attn::Communicator& ranks) {
  const int last = ranks.size() - 1;
  if (last == 0) return true;
  std::vector<std::byte> news(1 << 20);
  try {
    if (ranks.rank() == last)
      ranks.fail("an example");
    else
      ranks.broadcast(last, news);
  } catch (const attn::Failure&) {
    return true;
  }
  return ranks.rank() == last;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED,
                  &provided);  // the library has threads, MPI sees one
  int code = 1;
  try {
    attn::MpiCommunicator ranks(MPI_COMM_WORLD);
    const int64_t seq = argc > 1 ? std::atoll(argv[1]) : 1000;
    const bool told = errors_reach_all(ranks), right = compare(ranks, seq);
    attn::MpiCommunicator others(MPI_COMM_WORLD);
    code = told && right && failure_wakes_all(others) ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << attn::message_of(e) << '\n';
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return code;
}
