// SPDX-License-Identifier: Apache-2.0
//
// factory*.json: what the factory accepts and refuses, what it logs, and what it reports of types.
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <functional>

#include "host/cli/log_sink.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"
#include "host/cli/verify.hpp"

namespace attn::cli {

namespace {

// The text of the refusal; "" when there is none.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
    return "";
  } catch (const InvalidArgument& e) {
    return e.what();
  }
}

// The first character that differs, for the eye.
std::string differ(const std::string& what, const std::string& got, const std::string& expected) {
  size_t at = 0;
  while (at < got.size() && at < expected.size() && got[at] == expected[at]) ++at;
  return what + ": differs at character " + std::to_string(at) + "\n    got      " +
         (got.empty() ? "(accepted)" : got) + "\n    expected " +
         (expected.empty() ? "(accepted)" : expected);
}

class Cases {
 public:
  Cases(std::string path, const Globals& globals, VerifyReport& report)
      : path_(std::move(path)), globals_(globals), report_(report) {}

  void refuse(const std::string& text) const {
    throw InvalidArgument(path_ + ": " + text,
                          {.where = path_, .hint = "tests/goldens/README.md has the format"});
  }
  const Json& need(const Json& object, const char* key) const {
    const Json* value = object.is_object() ? object.find(key) : nullptr;
    if (!value) refuse(std::string("an entry without '") + key + "'");
    return *value;
  }

  // {type, config, ok, error, rule} and optionally name and api.
  void factory_case(const Json& c, size_t number) {
    const Json& config = need(c, "config");
    const Json& error = need(c, "error");
    const std::string expected = error.is_string() ? error.as_string() : "";
    const Json* api = c.find("api");
    const bool whole = api && *api == Json("create_attention_from_config");
    const Json* type = whole ? config.find("type") : &need(c, "type");
    if (skipped(type, expected)) return;
    if (need(c, "ok").as_bool() != expected.empty())
      return refuse("'ok' and 'error' contradict each other");
    const std::string title = "factory case " + std::to_string(number) + " (" +
                              (type && type->is_string() ? type->as_string() : "no type") + ", " +
                              need(c, "rule").as_string() + ")";
    std::string text;
    const auto check = [&](const char* what, const std::function<void()>& call) {
      const std::string got = refusal(call);
      if (got != expected && text.empty()) text = differ(what, got, expected);
    };
    const QuietLog quiet;
    if (whole) {
      check("create_attention_from_config", [&] { (void)create_attention_from_config(config); });
    } else {
      const std::string id = type->as_string();
      const Json* name = c.find("name");
      if (!name) check("validate_attention_config", [&] { validate_attention_config(id, config); });
      check("create_attention_layer",
            [&] { (void)create_attention_layer(id, config, name ? *name : Json()); });
      if (!config.contains("type") && !config.contains("name")) {
        Json together = config;
        together.set("type", id);
        if (name) together.set("name", *name);
        check("create_attention_from_config",
              [&] { (void)create_attention_from_config(together); });
      }
    }
    finish(title, text);
  }

  // {type, name, config, level, message}
  void log_case(const Json& c, size_t number) {
    const std::string expected = need(c, "message").as_string();
    const std::string level = need(c, "level").as_string();
    const Json& type = need(c, "type");
    if (skipped(&type, expected)) return;
    std::vector<std::string> lines;
    // The library calls the sink once at a time.
    set_log_sink([&](LogLevel l, std::string_view text) {
      if (l == LogLevel::info || l == LogLevel::error)
        lines.push_back(std::string(attn::name(l)) + " " + std::string(text));
    });
    (void)refusal([&] {
      (void)create_attention_layer(type.as_string(), need(c, "config"), need(c, "name"));
    });
    install_log_sink(globals_);
    const std::string wanted = level + " " + expected;
    std::string text;
    if (lines.size() != 1)
      text = std::to_string(lines.size()) + " log lines of level INFO or ERROR, expected 1";
    else if (lines.front() != wanted)
      text = differ("log line", lines.front(), wanted);
    finish("factory log " + std::to_string(number) + " (" + type.as_string() + ")", text);
  }

  void info_case(const std::string& type, const Json& expected) {
    // Checked first, so that another JSON file is not taken for cases of types that are not loaded.
    static_cast<void>(need(expected, "required_params"));
    if (!type_is_loaded(type)) return report_.skip(type);
    const Json got = get_attention_requirements(type);
    std::string text;
    const auto compare = [&](const char* key) {
      const Json& a = need(got, key);
      const Json& b = need(expected, key);
      if (!same(a, b) && text.empty()) text = differ(key, a.dump(), b.dump());
    };
    for (const char* key :
         {"type", "class", "input_shape", "required_params", "optional_params", "aliases"})
      compare(key);
    for (const char* key : {"description", "use_case", "complexity", "paper"})
      if (const Json& prose = need(got, key); !prose.is_string() || prose.as_string().empty())
        text = std::string(key) + ": is empty";
    finish("factory info (" + type + ")", text);
  }

 private:
  // Numbers by value, objects with their order.
  static bool same(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number()) return a.to_double() == b.to_double();
    if (a.kind() != b.kind()) return false;
    if (a.is_list()) {
      for (size_t i = 0; i < a.size() && i < b.size(); ++i)
        if (!same(a.at(i), b.at(i))) return false;
      return a.size() == b.size();
    }
    if (a.is_object()) {
      const auto &x = a.as_object(), &y = b.as_object();
      for (size_t i = 0; i < x.size() && i < y.size(); ++i)
        if (x[i].first != y[i].first || !same(x[i].second, y[i].second)) return false;
      return x.size() == y.size();
    }
    return a == b;
  }

  // The type is not loaded, and the case is not about that.
  bool skipped(const Json* type, const std::string& expected) {
    if (!type || !type->is_string() || type_is_loaded(type->as_string())) return false;
    if (expected.find("Unknown attention type") != std::string::npos) return false;
    report_.skip(type->as_string());
    return true;
  }
  void finish(const std::string& title, const std::string& text) {
    if (text.empty())
      report_.pass();
    else
      report_.fail(title, path_, text);
  }

  std::string path_;
  const Globals& globals_;
  VerifyReport& report_;
};

}  // namespace

void verify_factory(const std::string& path, const Globals& globals, VerifyReport& report) {
  const Json content = parse_config(read_text_file(path, "a file of factory cases"), path);
  Cases cases(path, globals, report);
  if (content.is_object()) {
    for (const auto& [type, entry] : content.as_object()) cases.info_case(type, entry);
  } else if (content.is_list()) {
    for (size_t i = 0; i < content.size(); ++i) {
      const Json& c = content.at(i);
      if (c.is_object() && c.contains("message"))
        cases.log_case(c, i);
      else
        cases.factory_case(c, i);
    }
  } else {
    cases.refuse("must hold a list or an object");
  }
}

}  // namespace attn::cli
