// SPDX-License-Identifier: Apache-2.0
//
// Score programs and mask rules from the description of their language (host/docs/score-programs.md): a text becomes
// functions of a place among the scores, which are called for each score. Texts are taken to be right.
#include "tests/oracle/program.hpp"

#include <cctype>
#include <cmath>

namespace attn::oracle {
namespace {

// A whole number, a truth value as 0 or 1, or a real number.
struct Number {
  bool is_real = false;
  int64_t i = 0;
  double f = 0;
  [[nodiscard]] double real() const { return is_real ? f : static_cast<double>(i); }
};
Number whole(int64_t i) { return {false, i, 0}; }
Number real(double f) { return {true, 0, f}; }

using Code = std::function<Number(const Place&)>;

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b != 0 && a % b < 0 ? 1 : 0); }

class Parser {
 public:
  Parser(const Run& run, std::string site, std::string text)
      : run_(run), site_(std::move(site)), text_(std::move(text)) {}

  Code all() {
    Code c = expression();
    demand(next().empty(), "a program goes on");
    return c;
  }

 private:
  // The next word, number or sign, without taking it.
  std::string next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    if (at_ == text_.size()) return "";
    size_t end = at_;
    const auto is_word = [&](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
    };
    while (end < text_.size() && is_word(text_[end])) ++end;
    if (end > at_) return text_.substr(at_, end - at_);
    const std::string two = text_.substr(at_, 2);
    for (const char* sign : {"||", "&&", "<=", ">=", "==", "!=", "//"})
      if (two == sign) return two;
    return text_.substr(at_, 1);
  }
  bool take(const std::string& token) {
    if (next() != token) return false;
    at_ += token.size();
    return true;
  }
  std::string take_one(std::initializer_list<const char*> tokens) {
    for (const char* token : tokens)
      if (take(token)) return token;
    return "";
  }

  Code expression() {
    Code c = disjunction();
    if (!take("?")) return c;
    const Code a = expression();
    demand(take(":"), "a program lacks ':'");
    return choice(std::move(c), a, expression());
  }
  // A whole number beside a real one becomes real.
  static Code choice(Code c, Code a, Code b) {
    return [=](const Place& p) {
      const Number x = a(p), y = b(p), chosen = c(p).i ? x : y;
      return x.is_real || y.is_real ? real(chosen.real()) : chosen;
    };
  }
  Code disjunction() {
    Code a = conjunction();
    while (!take_one({"||", "or"}).empty())
      a = [a, b = conjunction()](const Place& p) { return whole(a(p).i || b(p).i); };
    return a;
  }
  Code conjunction() {
    Code a = negation();
    while (!take_one({"&&", "and"}).empty())
      a = [a, b = negation()](const Place& p) { return whole(a(p).i && b(p).i); };
    return a;
  }
  Code negation() {
    if (take("not")) return [a = negation()](const Place& p) { return whole(!a(p).i); };
    return comparison();
  }
  Code comparison() {
    Code left = sum(), all;
    for (std::string sign; !(sign = take_one({"<=", ">=", "==", "!=", "<", ">"})).empty();) {
      const Code right = sum();
      const Code one = [=](const Place& p) {
        const Number x = left(p), y = right(p);
        const double a = x.real(), b = y.real();
        return whole(sign == "<="   ? a <= b
                     : sign == ">=" ? a >= b
                     : sign == "==" ? a == b
                     : sign == "!=" ? a != b
                     : sign == "<"  ? a < b
                                    : a > b);
      };
      if (all)
        all = [=, before = all](const Place& p) { return whole(before(p).i && one(p).i); };
      else
        all = one;
      left = right;
    }
    return all ? all : left;
  }
  Code sum() {
    Code a = term();
    for (std::string sign; !(sign = take_one({"+", "-"})).empty();) a = binary(sign, a, term());
    return a;
  }
  Code term() {
    Code a = unary();
    for (std::string sign; !(sign = take_one({"*", "//", "/", "%"})).empty();)
      a = binary(sign, a, unary());
    return a;
  }
  static Code binary(const std::string& sign, Code a, Code b) {
    return [=](const Place& p) {
      const Number x = a(p), y = b(p);
      if (x.is_real || y.is_real) {
        const double f = x.real(), g = y.real();
        return real(sign == "+"     ? f + g
                    : sign == "-"   ? f - g
                    : sign == "*"   ? f * g
                    : sign == "min" ? (f < g ? f : g)
                    : sign == "max" ? (f > g ? f : g)
                                    : f / g);
      }
      if (sign == "%") return whole(x.i - y.i * floor_divide(x.i, y.i));
      if (sign == "min" || sign == "max") return whole((x.i < y.i) == (sign == "min") ? x.i : y.i);
      return whole(sign == "+"   ? x.i + y.i
                   : sign == "-" ? x.i - y.i
                   : sign == "*" ? x.i * y.i
                                 : floor_divide(x.i, y.i));
    };
  }
  Code unary() {
    if (take("-"))
      return [a = unary()](const Place& p) {
        const Number x = a(p);
        return x.is_real ? real(-x.f) : whole(-x.i);
      };
    if (take("+")) return unary();
    if (take("!")) return [a = unary()](const Place& p) { return whole(!a(p).i); };
    return atom();
  }
  Code atom() {
    if (take("(")) {
      Code c = expression();
      demand(take(")"), "a program lacks ')'");
      return c;
    }
    const std::string word = next();
    demand(!word.empty(), "a program ends too early");
    at_ += word.size();
    if (std::isdigit(static_cast<unsigned char>(word[0])) || word[0] == '.') {
      const Number n = word.find_first_of(".e") == std::string::npos ? whole(std::stoll(word))
                                                                     : real(std::stod(word));
      return [n](const Place&) { return n; };
    }
    if (word == "true" || word == "false")
      return [n = whole(word == "true")](const Place&) { return n; };
    if (word == "inf")
      return [](const Place&) { return real(std::numeric_limits<double>::infinity()); };
    if (word == "s") return [](const Place& p) { return real(p.s); };
    static const std::map<std::string, int64_t Place::*> variables{
        {"b", &Place::b}, {"h", &Place::h}, {"q", &Place::q}, {"k", &Place::k},
        {"H", &Place::H}, {"Q", &Place::Q}, {"K", &Place::K}};
    if (const auto v = variables.find(word); v != variables.end())
      return [member = v->second](const Place& p) { return whole(p.*member); };
    if (take("(")) return function(word, list(")"));
    return captured(word, take("[") ? list("]") : std::vector<Code>{});
  }
  std::vector<Code> list(const char* close) {
    std::vector<Code> out;
    do out.push_back(expression());
    while (take(","));
    demand(take(close), "a list of a program has no end");
    return out;
  }
  static Code function(const std::string& name, const std::vector<Code>& x) {
    if (name == "where") return choice(x[0], x[1], x[2]);
    if (name == "min" || name == "max") return binary(name, x[0], x[1]);
    if (name == "clamp") return binary("min", binary("max", x[0], x[1]), x[2]);
    if (name == "abs")
      return [a = x[0]](const Place& p) {
        const Number n = a(p);
        return n.is_real ? real(std::fabs(n.f)) : whole(std::abs(n.i));
      };
    if (name == "softcap")
      return [a = x[0], c = x[1]](const Place& p) {
        const double cap = c(p).real();
        return real(cap * std::tanh(a(p).real() / cap));
      };
    static const std::map<std::string, double (*)(double)> functions{
        {"float", [](double f) { return f; }},
        {"sqrt", [](double f) { return std::sqrt(f); }},
        {"exp", [](double f) { return std::exp(f); }},
        {"log", [](double f) { return std::log(f); }},
        {"tanh", [](double f) { return std::tanh(f); }},
        {"sigmoid", logistic},
        {"floor", [](double f) { return std::floor(f); }}};
    demand(functions.contains(name), name.c_str());
    return [a = x[0], f = functions.at(name)](const Place& p) { return real(f(a(p).real())); };
  }
  Code captured(const std::string& name, const std::vector<Code>& index) {
    const Json captures = run_.options("captures");
    const Json* given = captures.find(name);
    demand(given != nullptr, name.c_str());
    if (given->is_number()) {
      const Number n = given->is_integer() ? whole(*given->to_int64()) : real(given->to_double());
      return [n](const Place&) { return n; };
    }
    // A list without a point is of whole numbers, at any depth.
    const bool brought = given->is_object() && given->find("input") != nullptr;
    const bool is_whole =
        brought ? given->at("dtype").as_string() == "i32"
                : given->is_list() && given->dump().find_first_of(".e") == std::string::npos;
    const Tensor& table =
        brought ? run_.problem.tables.at(name) : run_.kernel(site_ + "/captures/" + name);
    return [=, &table](const Place& p) {
      int64_t at = 0;
      for (size_t axis = 0; axis < index.size(); ++axis) {
        const int64_t i = index[axis](p).i, n = table.shape[axis];
        demand(i >= 0 && i < n, "an index of a program is outside its table");
        at = at * n + i;
      }
      const double x = table.v.at(static_cast<size_t>(at));
      return is_whole ? whole(static_cast<int64_t>(x)) : real(x);
    };
  }

  const Run& run_;
  std::string site_, text_;
  size_t at_ = 0;
};

}  // namespace

Program::Program(const Run& run, const std::string& site) {
  const std::string score = run.text("score", ""), rule = run.text("mask_rule", "");
  if (!score.empty())
    score_ = [c = Parser(run, site, score).all()](const Place& p) { return c(p).real(); };
  if (!rule.empty())
    rule_ = [c = Parser(run, site, rule).all()](const Place& p) { return c(p).i != 0; };
}

}  // namespace attn::oracle
