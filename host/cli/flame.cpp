// SPDX-License-Identifier: Apache-2.0
#include "host/cli/flame.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"

namespace attn::cli {

namespace {

constexpr double kWidth = 1000, kMargin = 16, kInner = kWidth - 2 * kMargin;
constexpr double kBarHeight = 34, kLineHeight = 18;  // heights of bars and of lines of text
constexpr double kLetter = 6.7;                      // width of one in text of 12 px, about
constexpr size_t kMostRows = 40;                     // of the table: those that took longest

// Of what bounds an operator, strong for the least time, pale for the rest; grey: not known, or outside of operators.
struct Paint {
  const char *strong, *pale, *name;
};
constexpr Paint kPaints[] = {{"#0072B2", "#BFDCEC", "arithmetic"},
                             {"#E69F00", "#F9E7BF", "reading"},
                             {"#009E73", "#BFE7DC", "copying"},
                             {"#767676", "#DDDDDD", "not known"}};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : visible(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string line(double x, double y, const std::string& text, const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>\n", x, y, style, escaped(text));
}

std::string bar(double x, double y, double width, double height, const char* fill) {
  return fmt::format(
      "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x, y,
      std::max(width, 0.0), height, fill);
}

// One operator as the picture shows it.
struct Part {
  const OperatorTime* op;
  size_t number;
  double share = 0;  // least time over time
  const Paint* paint = &kPaints[3];
  bool backward = false;

  [[nodiscard]] std::string name() const {
    return op->name + (op->label.empty() ? "" : " " + op->label);
  }
  [[nodiscard]] std::string told() const {
    return fmt::format("{:.3f} ms", op->seconds * 1e3) +
           (op->counted ? fmt::format(", {:.0f} % of it needed for {}", 100 * share, paint->name)
                        : std::string());
  }
};

std::vector<Part> parts_of(const Explained& e, const kernels::Machine& machine) {
  std::vector<Part> parts;
  for (size_t i = 0; i < e.profile.size(); ++i) {
    const OperatorTime& op = e.profile[i];
    Part p{&op, i + 1};
    p.backward = op.name.ends_with(" gradient");
    if (op.counted && op.seconds > 0) {
      const kernels::Limit l = limit_of(work_of(op), machine);
      p.share = std::min(1.0, l.seconds / op.seconds);
      p.paint = &kPaints[static_cast<int>(l.bound)];
    }
    parts.push_back(p);
  }
  return parts;
}

class Picture {
 public:
  Picture(const Explained& e, const kernels::Machine& machine, const FlameText& text)
      : e_(e), text_(text), parts_(parts_of(e, machine)) {}

  std::string svg() {
    y_ = kMargin + 18;
    body_ += line(kMargin, y_, text_.title, " font-size=\"17\" font-weight=\"bold\"");
    y_ += kLineHeight + 4;
    body_ += line(kMargin, y_, text_.subtitle);
    y_ += kLineHeight - 4;
    bars();
    legend();
    table();
    const double height = y_ + kMargin;
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
               "width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"DejaVu Sans, Verdana, "
               "sans-serif\" "
               "font-size=\"12\" fill=\"#111111\">\n<rect width=\"100%\" height=\"100%\" "
               "fill=\"#FFFFFF\"/>\n",
               kWidth, height) +
           body_ + "</svg>\n";
  }

 private:
  [[nodiscard]] double wide(double seconds) const { return kInner * seconds / e_.seconds; }

  // A bar with a label where it fits, and all numbers on hover.
  void block(double x, double width, const Part* part, const std::string& label,
             const std::string& hover, const char* fill) {
    body_ += "<g><title>" + escaped(hover) + "</title>\n" + bar(x, y_, width, kBarHeight, fill);
    if (part) body_ += bar(x, y_ + kBarHeight - 9, width * part->share, 9, part->paint->strong);
    body_ += fmt::format(
        "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" "
        "fill=\"none\" stroke=\"#FFFFFF\"/>\n",
        x, y_, std::max(width, 0.0), kBarHeight);
    const auto fits = [&](const std::string& t) {
      return static_cast<double>(t.size()) * kLetter + 8 < width;
    };
    std::string shown = label;
    if (part && !fits(shown)) shown = std::to_string(part->number);
    if (fits(shown)) body_ += line(x + 4, y_ + 16, shown);
    body_ += "</g>\n";
  }

  void bars() {
    const double outside = std::max(0.0, e_.seconds - e_.inside());
    const std::string call = fmt::format("call {:.3f} ms", e_.seconds * 1e3);
    block(kMargin, kInner, nullptr, call, call, "#E8E8E8");
    y_ += kBarHeight;
    // Both ways of a training step.
    double there = 0, back = 0;
    for (const Part& p : parts_) (p.backward ? back : there) += p.op->seconds;
    if (back > 0) {
      const auto pass = [&](double x, const char* what, double seconds) {
        const std::string text = fmt::format("{} {:.3f} ms", what, seconds * 1e3);
        block(x, wide(seconds), nullptr, text, text, "#F1F1F1");
      };
      pass(kMargin, "forward", there);
      pass(kMargin + wide(there), "gradients", back);
      y_ += kBarHeight;
    }
    double x = kMargin;
    for (const Part& p : parts_) {
      const double width = wide(p.op->seconds);
      block(x, width, &p, fmt::format("{} {}", p.number, p.name()),
            fmt::format("{} {} {}: {}", p.number, p.name(), p.op->shape.to_string(), p.told()),
            p.paint->pale);
      x += width;
    }
    if (const double rest = wide(outside); rest > 0.5)
      block(x, rest, nullptr, "outside",
            fmt::format("outside of operators {:.3f} ms", outside * 1e3), "#FAFAFA");
    y_ += kBarHeight + kLineHeight + 4;
  }

  void legend() {
    double x = kMargin;
    for (const Paint& p : kPaints) {
      const bool used = std::any_of(parts_.begin(), parts_.end(),
                                    [&](const Part& part) { return part.paint == &p; });
      if (!used) continue;
      body_ += bar(x, y_ - 11, 14, 14, p.pale) + bar(x, y_ - 2, 14, 5, p.strong);
      const std::string text = std::string("bound by ") + p.name;
      const bool unknown = &p == &kPaints[3];
      body_ += line(x + 20, y_, unknown ? "bound not known" : text);
      x += 20 + kLetter * static_cast<double>(text.size()) + 22;
    }
    body_ += line(x, y_, "dark strip: the least time that this needs here");
    y_ += kLineHeight + 8;
  }

  void table() {
    constexpr double kColumns[] = {kMargin + 22,  kMargin + 34,  kMargin + 350, kMargin + 630,
                                   kMargin + 710, kMargin + 806, kMargin + 822};
    const char* right = " text-anchor=\"end\"";
    const char* bold = " font-weight=\"bold\"";
    const char* both = " font-weight=\"bold\" text-anchor=\"end\"";
    body_ += line(kColumns[0], y_, "#", both) + line(kColumns[1], y_, "operator", bold) +
             line(kColumns[2], y_, "output", bold) + line(kColumns[3], y_, "ms", both) +
             line(kColumns[4], y_, "of call", both) + line(kColumns[5], y_, "of bound", both) +
             line(kColumns[6], y_, "bound by", bold);
    std::vector<const Part*> rows;
    for (const Part& p : parts_) rows.push_back(&p);
    if (rows.size() > kMostRows) {
      std::stable_sort(rows.begin(), rows.end(), [](const Part* a, const Part* b) {
        return a->op->seconds > b->op->seconds;
      });
      rows.resize(kMostRows);
      std::sort(rows.begin(), rows.end(),
                [](const Part* a, const Part* b) { return a->number < b->number; });
    }
    for (const Part* p : rows) {
      y_ += kLineHeight;
      const auto cut = [](std::string text, size_t most) {
        return text.size() > most ? text.substr(0, most - 3) + "..." : text;
      };
      body_ +=
          line(kColumns[0], y_, std::to_string(p->number), right) +
          line(kColumns[1], y_, cut(p->name(), 44)) +
          line(kColumns[2], y_, cut(p->op->shape.to_string(), 30)) +
          line(kColumns[3], y_, fmt::format("{:.3f}", p->op->seconds * 1e3), right) +
          line(kColumns[4], y_, fmt::format("{:.1f} %", 100 * p->op->seconds / e_.seconds), right) +
          line(kColumns[5], y_, p->op->counted ? fmt::format("{:.0f} %", 100 * p->share) : "-",
               right) +
          line(kColumns[6], y_, p->op->counted ? p->paint->name : "-");
    }
    if (rows.size() < parts_.size()) {
      y_ += kLineHeight;
      body_ +=
          line(kColumns[1], y_, fmt::format("and {} shorter ones", parts_.size() - rows.size()));
    }
  }

  const Explained& e_;
  const FlameText& text_;
  std::vector<Part> parts_;
  std::string body_{};
  double y_ = 0;
};

}  // namespace

std::string flame_svg(const Explained& e, const kernels::Machine& machine, const FlameText& text) {
  return Picture(e, machine, text).svg();
}

}  // namespace attn::cli
