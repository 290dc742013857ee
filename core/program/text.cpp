// SPDX-License-Identifier: Apache-2.0
#include "core/program/text.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "core/error/error.hpp"
#include "core/error/nearest.hpp"
#include "core/program/tokens.hpp"

namespace attn::program {
namespace {

constexpr int kMostDepth = 64;

struct Function {
  std::string_view name;
  int arguments;
};
constexpr Function kFunctions[] = {
    {"abs", 1}, {"min", 2}, {"max", 2},  {"clamp", 3},   {"where", 3}, {"float", 1},  {"sqrt", 1},
    {"exp", 1}, {"log", 1}, {"tanh", 1}, {"sigmoid", 1}, {"floor", 1}, {"softcap", 2}};
constexpr std::string_view kWords[] = {"and", "or", "not", "true", "false", "inf"};
constexpr std::string_view kVariables[] = {"b", "h", "q", "k", "s", "B", "H", "Q", "K"};

std::string quoted(std::string_view x) { return "'" + std::string(x) + "'"; }
std::string counted(int n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

// An expression and what the language knows of it beside its type: `ratio`, it holds the quotient of two whole numbers
// that were divided by '/', which must not go on as a real number.
struct Value {
  int32_t node = -1;
  Type type = Type::whole;
  bool ratio = false;
  size_t begin = 0, end = 0;
  size_t quotient = 0;  // where the ratio is
};

class Parser {
 public:
  Parser(Kind kind, std::string_view text, const std::vector<Name>& names, Dag& dag)
      : kind_(kind), text_(text), names_(names), dag_(dag), tokens_(kind, text) {}

  int32_t program() {
    Value v = expression();
    if (tokens_.now().kind != Token::end) fail(tokens_.now().at, unexpected(), "an operator", "");
    v = kind_ == Kind::score ? to_real(v) : condition(v);
    return v.node;
  }

 private:
  // Counts what is nested, whatever nests it.
  struct Depth {
    explicit Depth(Parser& p) : parser(p) {
      if (++parser.depth_ > kMostDepth)
        parser.fail(parser.tokens_.now().at, "the text is nested too deeply",
                    "at most " + std::to_string(kMostDepth) + " levels", "");
    }
    ~Depth() { --parser.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    Parser& parser;
  };

  [[noreturn]] void fail(size_t at, const std::string& what, const std::string& expected,
                         const std::string& hint) const {
    refuse(kind_, text_, at, what, expected, hint);
  }
  std::string unexpected() const {
    return tokens_.now().kind == Token::end ? "the text ends too early"
                                            : quoted(tokens_.now().text) + " is out of place";
  }
  void close(std::string_view sign, std::string_view opened) {
    if (!tokens_.take(sign))
      fail(tokens_.now().at, quoted(opened) + " is not closed", quoted(sign), "");
  }

  // ---- types ----
  Value number(const Value& v) const {
    if (v.type == Type::truth)
      fail(v.begin, "a truth value is used as a number", "a number",
           "write where(condition, 1.0, 0.0)");
    return v;
  }
  Value condition(const Value& v) const {
    if (v.type != Type::truth)
      fail(v.begin,
           v.type == Type::whole ? "a whole number is used as a condition"
                                 : "a real number is used as a condition",
           "a truth value", "compare it: x != 0");
    return v;
  }
  Value to_real(Value v) {
    number(v);
    if (v.type == Type::real) return v;
    if (v.ratio)
      fail(v.quotient,
           "the quotient of two whole numbers drops its rest and is then used as a real number",
           "'//' or float()", "write a // b for the whole part, float(a) / b for the ratio");
    v.node = dag_.unary(Op::to_real, v.node);
    v.type = Type::real;
    return v;
  }
  Value whole(const Value& v, const std::string& what) const {
    if (v.type != Type::whole)
      fail(v.begin, what, v.type == Type::real ? "a whole number, not a real one" : "a number",
           "there is no way from real to whole numbers; capture a table of integers");
    return v;
  }
  // Both of one kind of number.
  void unify(Value& a, Value& b) {
    number(a), number(b);
    if (a.type == Type::real || b.type == Type::real) a = to_real(a), b = to_real(b);
  }
  Value result(int32_t node, Type type, const Value& a, const Value& b) {
    Value v{node, type, false, a.begin, tokens_.last_end(), 0};
    if (type == Type::whole && (a.ratio || b.ratio))
      v.ratio = true, v.quotient = a.ratio ? a.quotient : b.quotient;
    dag_.place(node, static_cast<int32_t>(v.begin), static_cast<int32_t>(v.end));
    return v;
  }
  Value arithmetic(Op op, Value a, Value b) {
    unify(a, b);
    return result(dag_.binary(op, a.node, b.node), a.type, a, b);
  }

  // ---- grammar ----
  Value expression() {
    const Depth depth(*this);
    Value c = either();
    if (!tokens_.take("?")) return c;
    condition(c);
    Value a = expression();
    if (!tokens_.take(":"))
      fail(tokens_.now().at, "'?' has no ':'", "condition ? value : other value", "");
    return choose(c, a, expression());
  }
  Value choose(const Value& c, Value a, Value b) {
    condition(c);
    if (a.type != Type::truth || b.type != Type::truth) unify(a, b);
    Value v = result(dag_.choose(c.node, a.node, b.node), a.type, a, b);
    v.begin = c.begin;
    return v;
  }
  Value either() {
    Value a = both();
    while (tokens_.is("||") || tokens_.is("or")) {
      tokens_.next();
      a = logical(Op::either, a, both());
    }
    return a;
  }
  Value both() {
    Value a = negation();
    while (tokens_.is("&&") || tokens_.is("and")) {
      tokens_.next();
      a = logical(Op::both, a, negation());
    }
    return a;
  }
  Value logical(Op op, const Value& a, const Value& b) {
    condition(a), condition(b);
    return result(dag_.binary(op, a.node, b.node), Type::truth, a, b);
  }
  Value negation() {
    if (!tokens_.is("not")) return comparison();
    const Depth depth(*this);
    const size_t begin = tokens_.now().at;
    tokens_.next();
    return negated(negation(), begin);
  }
  Value negated(const Value& v, size_t begin) {
    condition(v);
    Value out = result(dag_.unary(Op::negation, v.node), Type::truth, v, v);
    out.begin = begin;
    return out;
  }
  Value comparison() {
    Value left = sum();
    Value all;
    std::string_view direction;  // of a chain: "<" or ">"
    bool chain = false;
    for (;;) {
      const Token sign = tokens_.now();
      const bool ordered =
          sign.text == "<" || sign.text == "<=" || sign.text == ">" || sign.text == ">=";
      if (sign.kind != Token::sign || !(ordered || sign.text == "==" || sign.text == "!="))
        return chain ? all : left;
      const std::string_view own = ordered ? sign.text.substr(0, 1) : std::string_view("=");
      if (chain && (own != direction || own == "="))
        fail(sign.at, "this chain of comparisons has no direction", "a < b < c or a > b > c", "");
      direction = own;
      tokens_.next();
      const Value right = sum();
      const Value both_of = compare(sign.text, left, right);
      all = chain ? logical(Op::both, all, both_of) : both_of;
      chain = true;
      left = right;
    }
  }
  Value compare(std::string_view sign, Value a, Value b) {
    const Value first = a;
    unify(a, b);
    const Op op = sign == "=="       ? Op::equal
                  : sign == "!="     ? Op::not_equal
                  : sign.size() == 2 ? Op::less_equal
                                     : Op::less;
    if (sign[0] == '>') std::swap(a, b);
    Value v = result(dag_.binary(op, a.node, b.node), Type::truth, first, first);
    return v;
  }
  Value sum() {
    Value a = term();
    while (tokens_.is("+") || tokens_.is("-")) {
      const Op op = tokens_.is("+") ? Op::add : Op::subtract;
      tokens_.next();
      a = arithmetic(op, a, term());
    }
    return a;
  }
  Value term() {
    Value a = unary();
    for (;;) {
      if (tokens_.take("*")) {
        a = arithmetic(Op::multiply, a, unary());
      } else if (tokens_.take("/")) {
        a = divide(a, unary());
      } else if (tokens_.take("//")) {
        a = quotient(Op::quotient, a, unary());
        a.ratio = false;
      } else if (tokens_.take("%")) {
        a = quotient(Op::remainder, a, unary());
        a.ratio = false;
      } else {
        return a;
      }
    }
  }
  Value divide(Value a, Value b) {
    number(a), number(b);
    if (a.type == Type::whole && b.type == Type::whole) {
      Value v = quotient(Op::quotient, a, b);
      v.ratio = true;
      v.quotient = a.begin;
      return v;
    }
    a = to_real(a), b = to_real(b);
    return result(dag_.binary(Op::divide, a.node, b.node), Type::real, a, b);
  }
  Value quotient(Op op, const Value& a, const Value& b) {
    number(a), number(b);
    whole(a, "a real number has no whole quotient and no remainder");
    whole(b, "a real number has no whole quotient and no remainder");
    const Node& divisor = dag_[b.node];
    if (divisor.op == Op::constant && divisor.whole < 1)
      fail(b.begin, "the divisor is " + std::to_string(divisor.whole), "at least 1", "");
    return result(dag_.binary(op, a.node, b.node), Type::whole, a, b);
  }
  Value unary() {
    const Token sign = tokens_.now();
    if (!tokens_.is("-") && !tokens_.is("+") && !tokens_.is("!")) return atom();
    const Depth depth(*this);
    tokens_.next();
    const Value v = unary();
    if (sign.text == "!") return negated(v, sign.at);
    number(v);
    if (sign.text == "+") return v;
    Value out = result(dag_.unary(Op::negate, v.node), v.type, v, v);
    out.begin = sign.at;
    return out;
  }
  Value leaf(int32_t node, Type type, const Token& token) {
    dag_.place(node, static_cast<int32_t>(token.at),
               static_cast<int32_t>(token.at + token.text.size()));
    return {node, type, false, token.at, token.at + token.text.size(), 0};
  }
  Value atom() {
    const Token token = tokens_.now();
    if (token.kind == Token::end || token.kind == Token::sign) {
      if (!tokens_.take("(")) fail(token.at, unexpected(), "a number, a name or '('", "");
      Value v = expression();
      close(")", "(");
      v.begin = token.at;
      v.end = tokens_.last_end();
      return v;
    }
    tokens_.next();
    if (token.kind == Token::whole) return leaf(dag_.whole(token.integer), Type::whole, token);
    if (token.kind == Token::real) return leaf(dag_.real(token.number), Type::real, token);
    if (token.text == "true" || token.text == "false")
      return leaf(dag_.truth(token.text == "true"), Type::truth, token);
    if (token.text == "inf")
      return leaf(dag_.real(std::numeric_limits<double>::infinity()), Type::real, token);
    return named(token);
  }
  Value named(const Token& token) {
    for (size_t i = 0; i < std::size(kVariables); ++i) {
      if (token.text != kVariables[i]) continue;
      const auto variable = static_cast<Variable>(i);
      if (variable == Variable::s && kind_ == Kind::mask_rule)
        fail(token.at, "a mask rule cannot read the score", "positions and captured tensors",
             "a threshold on scores is a kind of probability");
      return leaf(dag_.variable(variable), variable == Variable::s ? Type::real : Type::whole,
                  token);
    }
    for (const Function& f : kFunctions)
      if (token.text == f.name) return call(f, token);
    for (const Name& n : names_)
      if (token.text == n.name) return n.table < 0 ? constant(n, token) : read(n, token);
    std::vector<std::string> reach;
    for (const std::string_view v : kVariables)
      if (v != "s" || kind_ == Kind::score) reach.emplace_back(v);
    for (const Function& f : kFunctions) reach.emplace_back(f.name);
    std::string listed;
    for (const Name& n : names_) {
      reach.push_back(n.name);
      listed += (listed.empty() ? "" : ", ") + n.name;
    }
    const std::string near = did_you_mean(token.text, reach);
    fail(token.at, quoted(token.text) + " is unknown",
         listed.empty() ? "a variable or a function" : "a variable, a function or one of " + listed,
         near);
  }
  Value constant(const Name& n, const Token& token) {
    return n.type == Type::whole ? leaf(dag_.whole(n.whole), Type::whole, token)
                                 : leaf(dag_.real(n.real), Type::real, token);
  }
  Value read(const Name& n, const Token& token) {
    int32_t index[kMostAxes];
    int count = 0;
    if (tokens_.take("[")) {
      const Depth depth(*this);
      do {
        const Value v = whole(expression(), "an index must be a whole number");
        dag_.place(v.node, static_cast<int32_t>(v.begin), static_cast<int32_t>(v.end));
        if (count < kMostAxes) index[count] = v.node;
        ++count;
      } while (tokens_.take(","));
      close("]", "[");
    }
    if (count != n.rank)
      fail(token.at,
           quoted(n.name) + " has " + counted(n.rank, "axis", "axes") + " and is read with " +
               counted(count, "index", "indices"),
           std::to_string(n.rank), "");
    Value v{
        dag_.read(n.table, n.type, count, index), n.type, false, token.at, tokens_.last_end(), 0};
    dag_.place(v.node, static_cast<int32_t>(v.begin), static_cast<int32_t>(v.end));
    return v;
  }
  Value call(const Function& f, const Token& token) {
    if (!tokens_.take("(")) fail(tokens_.now().at, quoted(f.name) + " is a function", "'('", "");
    const Depth depth(*this);
    std::vector<Value> x;
    do {
      x.push_back(expression());
    } while (tokens_.take(","));
    close(")", "(");
    if (static_cast<int>(x.size()) != f.arguments)
      fail(token.at,
           quoted(f.name) + " has " + counted(static_cast<int>(x.size()), "argument", "arguments"),
           std::to_string(f.arguments), "");
    Value v = apply(f.name, x);
    v.begin = token.at;
    v.end = tokens_.last_end();
    dag_.place(v.node, static_cast<int32_t>(v.begin), static_cast<int32_t>(v.end));
    return v;
  }
  Value apply(std::string_view name, std::vector<Value>& x) {
    if (name == "where") return choose(x[0], x[1], x[2]);
    if (name == "min") return arithmetic(Op::min, x[0], x[1]);
    if (name == "max") return arithmetic(Op::max, x[0], x[1]);
    if (name == "clamp") return arithmetic(Op::min, arithmetic(Op::max, x[0], x[1]), x[2]);
    if (name == "abs") {
      number(x[0]);
      return result(dag_.unary(Op::absolute, x[0].node), x[0].type, x[0], x[0]);
    }
    for (Value& v : x) v = to_real(v);
    if (name == "float") return x[0];
    if (name == "softcap") {
      const int32_t inverse = dag_.binary(Op::divide, dag_.real(1), x[1].node);
      const int32_t scaled = dag_.binary(Op::multiply, x[0].node, inverse);
      const int32_t capped = dag_.binary(Op::multiply, x[1].node, dag_.unary(Op::tanh, scaled));
      return result(capped, Type::real, x[0], x[1]);
    }
    const Op op = name == "sqrt"      ? Op::sqrt
                  : name == "exp"     ? Op::exp
                  : name == "log"     ? Op::log
                  : name == "tanh"    ? Op::tanh
                  : name == "sigmoid" ? Op::sigmoid
                                      : Op::floor;
    return result(dag_.unary(op, x[0].node), Type::real, x[0], x[0]);
  }

  Kind kind_;
  std::string_view text_;
  const std::vector<Name>& names_;
  Dag& dag_;
  Tokens tokens_;
  int depth_ = 0;
};

bool is_reserved(std::string_view name) {
  const auto among = [&](const auto& list) {
    return std::find(std::begin(list), std::end(list), name) != std::end(list);
  };
  return among(kWords) || among(kVariables) ||
         std::any_of(std::begin(kFunctions), std::end(kFunctions),
                     [&](const Function& f) { return f.name == name; });
}

}  // namespace

void refuse(Kind kind, std::string_view text, size_t at, const std::string& what,
            const std::string& expected, const std::string& hint) {
  constexpr size_t kShown = 60;
  at = std::min(at, text.size());
  const size_t start = at == 0 ? 0 : text.rfind('\n', at - 1);
  const size_t line = start == std::string_view::npos || at == 0 ? 0 : start + 1;
  const size_t end = std::min(text.find('\n', at), text.size());
  const auto number =
      std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  const std::string where = std::string(kind == Kind::score ? "score" : "mask_rule") + ":" +
                            std::to_string(number + 1) + ":" + std::to_string(at - line + 1);
  const size_t from = at - line > kShown ? at - kShown : line;
  std::string shown(text.substr(from, std::min(end - from, 2 * kShown)));
  for (char& c : shown) c = c >= ' ' && c < 127 ? c : '?';
  std::string message = where + ": " + what;
  if (!expected.empty()) message += "; expected " + expected;
  if (!hint.empty()) message += "; " + hint;
  message += "\n    " + shown + "\n    " + std::string(at - from, ' ') + "^";
  throw InvalidArgument(message, {.where = where, .expected = expected, .hint = hint});
}

std::vector<std::string_view> words(Kind kind, std::string_view text) {
  std::vector<std::string_view> found;
  for (Tokens tokens(kind, text); tokens.now().kind != Token::end; tokens.next())
    if (tokens.now().kind == Token::name) found.push_back(tokens.now().text);
  return found;
}

void check_name(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  bool good = !name.empty() && name.size() <= 64 && letter(name[0]);
  for (const char c : name) good = good && (letter(c) || (c >= '0' && c <= '9'));
  if (!good)
    throw InvalidArgument("capture " + quoted(name.substr(0, 64)) +
                          " has no name of letters, digits and '_', at most 64");
  if (is_reserved(name))
    throw InvalidArgument("capture " + quoted(name) +
                          " has a name of the language; expected another one");
}

int32_t parse(Kind kind, std::string_view text, const std::vector<Name>& names, Dag& dag) {
  if (text.size() > kMostText)
    refuse(kind, text, kMostText, "the text has " + std::to_string(text.size()) + " bytes",
           "at most " + std::to_string(kMostText), "");
  try {
    return Parser(kind, text, names, dag).program();
  } catch (const std::length_error&) {
    refuse(kind, text, 0, "the text has too many operations",
           "at most " + std::to_string(kMostNodes), "");
  }
}

}  // namespace attn::program
