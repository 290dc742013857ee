// SPDX-License-Identifier: Apache-2.0
#include "host/check/tensors/operator_guard.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/engine/op_ref.hpp"
#include "host/library/loader/registry.hpp"

namespace attn::check {
namespace {

constexpr size_t kMost = 32;    // operators of one plugin that are watched
constexpr int kPattern = 0x7f;  // of bytes that an operator has to replace

struct Watched {
  const attn_op* real = nullptr;
  attn_op_ref* ref = nullptr;
  attn_op copy{};
};

struct Guard {
  std::deque<Watched> operators;
  Touching touching = Touching::end;
  bool gaps = false, spread = false;
  size_t calls = 0;
  std::string problem;
};
Guard& guard() {
  static Guard* const the = new Guard;
  return *the;
}

void tell(std::string text) {
  if (guard().problem.empty()) guard().problem = std::move(text);
}

// The bytes that a view reaches: from its lowest to behind its highest element.
struct Span {
  char* begin = nullptr;
  size_t bytes = 0;
};
Span span_of(const attn_view& v) {
  const size_t width = dtype_size(static_cast<attn_dtype>(v.dtype));
  int64_t low = 0, high = 0;
  for (int i = 0; i < v.rank; ++i) {
    if (v.shape[i] == 0) return {};
    const int64_t far = v.stride[i] * (v.shape[i] - 1);
    (far < 0 ? low : high) += far;
  }
  if (!v.data) return {};
  return {static_cast<char*>(v.data) + low * static_cast<int64_t>(width),
          static_cast<size_t>(high - low + 1) * width};
}

// Where element n lies, in elements from the first.
int64_t place(const attn_view& v, int64_t n) {
  int64_t at = 0;
  for (int axis = v.rank; axis-- > 0;) {
    at += n % v.shape[axis] * v.stride[axis];
    n /= v.shape[axis];
  }
  return at;
}

int64_t count(const attn_view& v) {
  int64_t n = v.data ? 1 : 0;
  for (int i = 0; i < v.rank; ++i) n *= v.shape[i];
  return n;
}

// The same extents with the first axis fastest, and every second element left out.
attn_view spread_out(attn_view v) {
  int64_t next = 2;
  for (int i = 0; i < v.rank; ++i) {
    v.stride[i] = next;
    next *= std::max<int64_t>(v.shape[i], 1);
  }
  return v;
}

// Read, at any strides; what the operator has made, read; written as a whole; written as it likes; added to.
enum class Role { input, made, result, saved, sum };

// One tensor of a run: the engine's memory, and that which the operator sees.
class Moved {
 public:
  Moved(attn_view& view, Role role)
      : role_(role),
        view_(view),
        engine_(view),
        width_(dtype_size(static_cast<attn_dtype>(view.dtype))),
        count_(count(view)),
        seen_(guard().spread && (role == Role::input || role == Role::sum) ? spread_out(view)
                                                                           : view),
        span_(span_of(seen_)),
        memory_(span_.bytes, guard().touching) {
    if (!count_) return;
    seen_.data =
        static_cast<char*>(memory_.data()) + (static_cast<char*>(seen_.data) - span_.begin);
    std::memset(memory_.data(), kPattern, span_.bytes);
    if (role != Role::result && role != Role::saved) copy(engine_, seen_);
    if (role == Role::input || role == Role::made) memory_.make_read_only();
    view_ = seen_;
  }

  // Into the engine's memory: the elements alone, between which others may lie.
  void put_back(const std::string& who) {
    view_ = engine_;
    if (!count_ || role_ == Role::input || role_ == Role::made) return;
    copy(seen_, engine_);
    if (!guard().gaps || role_ != Role::result || who.empty()) return;
    char untouched[8];
    std::memset(untouched, kPattern, sizeof untouched);
    int64_t gaps = 0;
    for (int64_t n = 0; n < count_; ++n)
      gaps += std::memcmp(element(seen_, n), untouched, std::min(width_, sizeof untouched)) == 0;
    if (gaps)
      tell(who +
           " leaves elements of its result as they were; write every one, also where it is zero: " +
           std::to_string(gaps) + " of " + std::to_string(count_));
  }

 private:
  [[nodiscard]] char* element(const attn_view& v, int64_t n) const {
    return static_cast<char*>(v.data) + place(v, n) * static_cast<int64_t>(width_);
  }
  void copy(const attn_view& from, const attn_view& to) const {
    for (int64_t n = 0; n < count_; ++n) std::memcpy(element(to, n), element(from, n), width_);
  }

  Role role_;
  attn_view& view_;
  attn_view engine_;
  size_t width_;
  int64_t count_;
  attn_view seen_;
  Span span_;
  GuardedMemory memory_;
};

// Scratch memory of the run that is going on. Its slack behind the end holds the pattern.
struct Scratch {
  std::vector<GuardedMemory> pieces;
};
thread_local Scratch* scratch_of_run = nullptr;

void* guarded_scratch(attn_ctx*, uint64_t bytes) {
  if (!scratch_of_run) return nullptr;
  scratch_of_run->pieces.emplace_back(bytes, guard().touching, 64);
  GuardedMemory& piece = scratch_of_run->pieces.back();
  std::memset(piece.data(), kPattern, (bytes + 63) / 64 * 64 * (bytes > 0));
  return piece.data();
}

void check_scratch(const Scratch& scratch, const attn_op& op) {
  if (guard().touching != Touching::end) return;
  for (const GuardedMemory& piece : scratch.pieces)
    for (size_t i = piece.size(); i % 64 != 0; ++i)
      if (static_cast<const char*>(piece.data())[i] != kPattern)
        return tell(std::string("operator ") + op.name + " writes behind its scratch memory of " +
                    std::to_string(piece.size()) + " bytes; ask for as much as it uses");
}

int32_t run(const Watched& w, attn_op_fn function, bool forward, const attn_op_call* c,
            attn_error* e) {
  ++guard().calls;
  const std::string who = std::string("operator ") + w.real->name;
  std::deque<Moved> moved;
  std::deque<attn_tensor> tensors;
  std::deque<attn_view> views;
  std::vector<const attn_tensor*> in(c->n_in);
  std::vector<attn_tensor*> out(c->n_out);
  std::vector<attn_view*> saved(c->n_saved), din(c->n_in);
  std::vector<const attn_view*> dout(c->n_out);
  for (uint32_t i = 0; i < c->n_in; ++i)
    if (c->in[i]) {
      moved.emplace_back(tensors.emplace_back(*c->in[i]).view, Role::input);
      in[i] = &tensors.back();
    }
  for (uint32_t i = 0; c->out && i < c->n_out; ++i)
    if (c->out[i]) {
      moved.emplace_back(tensors.emplace_back(*c->out[i]).view,
                         forward ? Role::result : Role::made);
      out[i] = &tensors.back();
    }
  // What an operator keeps for its gradient is its own affair.
  for (uint32_t i = 0; c->saved && i < c->n_saved; ++i)
    if (c->saved[i]) {
      moved.emplace_back(views.emplace_back(*c->saved[i]), forward ? Role::saved : Role::made);
      saved[i] = &views.back();
    }
  for (uint32_t i = 0; c->dout && i < c->n_out; ++i)
    if (c->dout[i]) {
      moved.emplace_back(views.emplace_back(*c->dout[i]), Role::made);
      dout[i] = &views.back();
    }
  for (uint32_t i = 0; c->din && i < c->n_in; ++i)
    if (c->din[i]) {
      moved.emplace_back(views.emplace_back(*c->din[i]), Role::sum);
      din[i] = &views.back();
    }
  Scratch scratch;
  attn_engine engine = *c->engine;
  engine.scratch = guarded_scratch;
  attn_op_call call = *c;
  call.in = in.data();
  if (c->out) call.out = out.data();
  if (c->saved) call.saved = saved.data();
  if (c->dout) call.dout = dout.data();
  if (c->din) call.din = din.data();
  call.engine = &engine;
  Scratch* const before = std::exchange(scratch_of_run, &scratch);
  const int32_t code = function(&call, e);
  scratch_of_run = before;
  check_scratch(scratch, *w.real);
  for (Moved& m : moved) m.put_back(code == ATTN_OK && forward ? who : "");
  return code;
}

// A function of C for each place in the list: an operator is not told which one it is.
template <size_t N>
int32_t forward_of(const attn_op_call* c, attn_error* e) {
  const Watched& w = guard().operators[N];
  return run(w, w.real->forward, true, c, e);
}
template <size_t N>
int32_t vjp_of(const attn_op_call* c, attn_error* e) {
  const Watched& w = guard().operators[N];
  return run(w, w.real->vjp, false, c, e);
}
struct Functions {
  attn_op_fn forward, vjp;
};
template <size_t... N>
const Functions* functions(std::index_sequence<N...>) {
  static constexpr Functions all[] = {{forward_of<N>, vjp_of<N>}...};
  return all;
}

}  // namespace

OperatorGuard::OperatorGuard(const attn_plugin& plugin, Touching touching) {
  Guard& g = guard();
  g.operators.clear();
  g.touching = touching;
  g.gaps = g.spread = false;
  g.calls = 0;
  g.problem.clear();
  const Functions* const own = functions(std::make_index_sequence<kMost>());
  for (uint32_t i = 0; i < plugin.n_ops && g.operators.size() < kMost; ++i) {
    const attn_op* real = plugin.ops[i];
    // The registry's reference is what all calls go through.
    auto* ref =
        const_cast<attn_op_ref*>(loader::process_registry().find_op(real->name, real->version));
    if (!ref || ref->op != real) continue;
    const Functions& f = own[g.operators.size()];
    Watched& w = g.operators.emplace_back(Watched{real, ref, {}});
    std::memcpy(&w.copy, real, std::min<size_t>(real->struct_size, sizeof w.copy));
    w.copy.struct_size = static_cast<uint32_t>(std::min<size_t>(real->struct_size, sizeof w.copy));
    w.copy.forward = f.forward;
    if (real->vjp) w.copy.vjp = f.vjp;
    ref->op = &w.copy;
  }
}

OperatorGuard::~OperatorGuard() {
  for (const Watched& w : guard().operators) w.ref->op = w.real;
}

void OperatorGuard::look_for_gaps() { guard().gaps = true; }
void OperatorGuard::spread() { guard().spread = true; }
size_t OperatorGuard::operators() const { return guard().operators.size(); }
size_t OperatorGuard::calls() const { return guard().calls; }
std::string OperatorGuard::problem() const { return guard().problem; }

}  // namespace attn::check
