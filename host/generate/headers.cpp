// SPDX-License-Identifier: Apache-2.0
//
// attn_headers DIRECTORY PLUGIN...: writes attention_type.hpp, the closed set of the types that are built with the
// library, and layers.hpp, a class for each of them, from the schemas that the plugins register. Loads the plugins and
// reads their tables; nothing else of them runs. A header is left alone when nothing changed. Exit code 1 and one line
// on stderr when a file cannot be read or written.
#include <attn/sdk/abi.h>
#include <dlfcn.h>

#include <charconv>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr size_t kColumns = 100;

using Types = std::map<std::string, const attn_type*>;

Types types_of(char** files, int count) {
  Types types;
  for (int i = 0; i < count; ++i) {
    void* const library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    const auto entry =
        reinterpret_cast<decltype(&attn_plugin_v1)>(dlsym(library, "attn_plugin_v1"));
    const attn_plugin* const plugin = entry ? entry() : nullptr;
    if (!plugin) throw std::runtime_error(std::string(files[i]) + ": gives no table of types");
    for (uint32_t t = 0; t < plugin->n_types; ++t)
      if (!types.emplace(plugin->types[t]->id, plugin->types[t]).second)
        throw std::runtime_error(std::string(files[i]) + ": type '" + plugin->types[t]->id +
                                 "' is in another plugin too; expected each type once; rename it");
  }
  return types;
}

// ---- text ------------------------------------------------------------------------------------------

// A name of the library as a C++ identifier: dots become underscores, words of C++20 get one after them.
std::string identifier(const std::string& name) {
  constexpr std::string_view kReserved =
      " alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t "
      "char32_t char8_t class co_await co_return co_yield compl concept const consteval "
      "constexpr constinit const_cast continue decltype default delete do double dynamic_cast "
      "else enum explicit export extern false float for friend goto if inline int long mutable "
      "namespace new noexcept not not_eq nullptr operator or or_eq private protected public "
      "register reinterpret_cast requires return short signed sizeof static static_assert "
      "static_cast struct switch template this thread_local throw true try typedef typeid "
      "typename union unsigned using virtual void volatile wchar_t while xor xor_eq ";
  std::string text = name;
  for (char& c : text)
    if (c == '.') c = '_';
  return kReserved.find(" " + text + " ") != std::string_view::npos ? text + "_" : text;
}

// Lines of a comment, broken between words.
std::string comment(const std::string& indent, const std::string& text) {
  std::string out, line = indent + "//";
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > kColumns && line.size() > indent.size() + 2) {
      out += line + "\n";
      line = indent + "//";
    }
    line += " " + word;
  }
  return out + line + "\n";
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string number(double x) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, x).ptr;
  std::string out(text, end);
  return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
}

std::string literal(const attn_value& v) {
  switch (v.kind) {
    case ATTN_VALUE_BOOL:
      return v.u.i ? "true" : "false";
    case ATTN_VALUE_I64:
      return std::to_string(v.u.i);
    case ATTN_VALUE_F64:
      return number(v.u.f);
    case ATTN_VALUE_I64S:
    case ATTN_VALUE_F64S: {
      std::string list;
      for (uint32_t i = 0; i < v.count; ++i)
        list += (i ? ", " : "") +
                (v.kind == ATTN_VALUE_I64S ? std::to_string(v.u.is[i]) : number(v.u.fs[i]));
      return "{" + list + "}";
    }
    default:
      return quoted(v.u.s);
  }
}

// ---- parameters ------------------------------------------------------------------------------------

bool is_json(const attn_param& p) {
  return p.kind == ATTN_PARAM_INITIALIZER || p.kind == ATTN_PARAM_REGULARIZER ||
         p.kind == ATTN_PARAM_OPTIONS;
}
bool is_optional(const attn_param& p) {
  return (p.flags & ATTN_PARAM_NULLABLE) != 0 && !is_json(p);
}
bool is_required(const attn_param& p) { return (p.flags & ATTN_PARAM_REQUIRED) != 0; }

std::string cpp_type(const attn_param& p) {
  const auto base = [&]() -> std::string {
    switch (p.kind) {
      case ATTN_PARAM_BOOL:
        return "bool";
      case ATTN_PARAM_INT:
        return "std::int64_t";
      case ATTN_PARAM_REAL:
        return "double";
      case ATTN_PARAM_SEED:
        return "std::uint64_t";
      case ATTN_PARAM_INTS:
        return "std::vector<std::int64_t>";
      case ATTN_PARAM_REALS:
        return "std::vector<double>";
      case ATTN_PARAM_INT_OR_PAIR:
        return "IntOrPair";
      default:
        return is_json(p) ? "Json" : "std::string";
    }
  };
  const std::string type = is_optional(p) ? "std::optional<" + base() + ">" : base();
  return is_required(p) ? "Required<" + type + ">" : type;
}

std::string initial(const attn_param& p) {
  if (is_required(p)) return "";
  if (p.def.kind == ATTN_NULL) return is_json(p) ? " = nullptr" : " = std::nullopt";
  if (p.def.kind == ATTN_VALUE_OBJECT)
    throw std::runtime_error(std::string(p.name) + ": an object as default; expected a name");
  const std::string text = literal(p.def);
  return text[0] == '{' ? text : " = " + text;
}

// What it means and which values it takes.
std::string meaning(const attn_param& p) {
  std::string text = p.doc ? p.doc : "";
  const auto say = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (p.flags & ATTN_PARAM_HAS_MIN)
    say((p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? "> " : ">= ") + literal(p.min));
  if (p.flags & ATTN_PARAM_HAS_MAX)
    say((p.flags & ATTN_PARAM_EXCLUSIVE_MAX ? "< " : "<= ") + literal(p.max));
  if (p.flags & ATTN_PARAM_ODD) say("odd");
  std::string choices;
  for (uint32_t i = 0; i < p.n_choices && !is_json(p); ++i)
    choices += (i ? " or " : "") + quoted(p.choices[i]);
  if (!choices.empty()) say((p.kind == ATTN_PARAM_NORM ? "also " : "") + choices);
  return text;
}

std::string json_value(const attn_param& p) {
  std::string member = "p." + identifier(p.name) + (is_required(p) ? ".value" : "");
  if (p.kind != ATTN_PARAM_INT_OR_PAIR) return member;
  return is_optional(p) ? member + " ? " + member + "->json() : Json()" : member + ".json()";
}

// The condition under which an extension is said: "if (...) ".
std::string when_given(const attn_param& p) {
  if ((p.flags & ATTN_PARAM_EXTENSION) == 0) return "";
  const std::string member = "p." + identifier(p.name);
  if (p.def.kind == ATTN_NULL)
    return "if (" + (is_json(p) ? "!" + member + ".is_null()" : member) + ") ";
  return "if (" + member + " != " + literal(p.def) + ") ";
}

// ---- classes ---------------------------------------------------------------------------------------

void write_class(std::ostream& out, const attn_type& t) {
  const std::string name = t.class_name;
  std::string calls;
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    calls += (i ? ", " : "") + std::string(t.inputs[i]->name) +
             (t.inputs[i]->flags & ATTN_INPUT_OPTIONAL ? " (optional)" : "");
  uint32_t required = 0;
  for (uint32_t i = 0; i < t.n_params; ++i) required += is_required(*t.params[i]) ? 1 : 0;

  out << comment("", std::string(t.description) + " " + t.use_case)
      << comment("", "Input " + std::string(t.input_shape) + "; inputs of a call: " + calls + ".")
      << comment("", "Cost: " + std::string(t.complexity) + ". Paper: " + t.paper + ".") << "class "
      << name << " final : public DirectLayer {\n"
      << " public:\n"
      << "  static constexpr std::string_view kType = " << quoted(t.id) << ";\n"
      << "  static constexpr std::size_t kRequired = " << required << ";\n\n"
      << "  struct Parameters {\n";
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    const std::string text = meaning(p);
    if (!text.empty()) out << comment("    ", text);
    out << "    " << cpp_type(p) << " " << identifier(p.name) << initial(p) << ";\n";
  }
  out << "  };\n\n"
      << "  explicit " << name << "(const Parameters& parameters, std::string_view name = {})\n"
      << "      : DirectLayer(kType, json_of(parameters), name) {}\n\n"
      << "  // As the factory takes them.\n"
      << "  [[nodiscard]] static Json json_of(const Parameters& p) {\n"
      << "    Json json = Json::object();\n";
  for (uint32_t i = 0; i < t.n_params; ++i)
    out << "    " << when_given(*t.params[i]) << "json.set(" << quoted(t.params[i]->name) << ", "
        << json_value(*t.params[i]) << ");\n";
  if (t.n_params == 0) out << "    static_cast<void>(p);\n";
  out << "    return json;\n"
      << "  }\n"
      << "};\n\n";
}

std::string layers_header(const Types& types) {
  std::ostringstream out;
  out << R"(// SPDX-License-Identifier: Apache-2.0
//
// Generated by the build from the plugins that come with the library; not to be edited.
//
// A class for each of their types, for programs whose layer is chosen at compile time:
//
//   attn::SomeAttention layer{{.dim = 512, .num_heads = 8}};
//   attn::Array y = layer.forward(x);
//
// Parameters stand in the order of the type's schema, required ones first; the rest have the schema's defaults. Leaving
// out a required one does not compile. Initializers and regularizers are names or objects, options are objects:
// .kernel_initializer = "he_normal", .probability_config = {{"slope", 5.0}}.
//
// Construction checks what create_attention_layer (attn/factory.hpp) checks, in the same order and with the same
// texts, and throws InvalidArgument; it writes no log line. The second argument of a constructor is the layer's name,
// without '/'; left out or empty, one is made from the class name. The plugin of the type must be found at run time
// (attn/plugins.hpp). What a layer does is in attn/attention.hpp. [any-thread]
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <attn/direct_layer.hpp>

namespace attn {

)";
  for (const auto& [id, type] : types) write_class(out, *type);
  out << "template <class... T>\nstruct TypeList {};\n\n"
      << "// All of them, in ascending order of their types.\nusing LayerClasses = TypeList<";
  const char* separator = "\n    ";
  for (const auto& [id, type] : types) {
    out << separator << type->class_name;
    separator = ",\n    ";
  }
  out << ">;\n\n}  // namespace attn\n";
  return out.str();
}

// ---- the set of types ------------------------------------------------------------------------------

std::string attention_type_header(const Types& types) {
  std::ostringstream out;
  out << R"(// SPDX-License-Identifier: Apache-2.0
//
// Generated by the build from the plugins that come with the library; not to be edited.
//
// AttentionType: the closed set of these types. Types of other plugins are known by name only.
// [any-thread]
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <attn/error.hpp>

namespace attn {

enum class AttentionType {
)";
  for (const auto& [type, table] : types) out << "  " << identifier(type) << ",\n";
  out << "};\n\n// All of them, in ascending order of their names.\n"
      << "inline constexpr std::array<AttentionType, " << types.size() << "> kAttentionTypes = {\n";
  for (const auto& [type, table] : types) out << "    AttentionType::" << identifier(type) << ",\n";
  out << "};\n\nnamespace detail {\n"
      << "inline constexpr std::array<std::string_view, " << types.size()
      << "> kAttentionTypeNames = {\n";
  for (const auto& [type, table] : types) out << "    \"" << type << "\",\n";
  out << R"(};
}  // namespace detail

[[nodiscard]] constexpr std::string_view to_string(AttentionType type) noexcept {
  return detail::kAttentionTypeNames[static_cast<std::size_t>(type)];
}

// Case counts. Throws InvalidArgument with the factory's text for an unknown type.
[[nodiscard]] inline AttentionType attention_type_from_string(std::string_view text) {
  std::string all;
  for (const AttentionType type : kAttentionTypes) {
    if (to_string(type) == text) return type;
    all.append(all.empty() ? "" : ", ").append(to_string(type));
  }
  const std::string name(text);
  throw InvalidArgument("Unknown attention type '" + name + "'",
                        {.type = name, .value = name, .expected = "one of " + all});
}

}  // namespace attn
)";
  return out.str();
}

void write_if_changed(const std::string& path, const std::string& text) {
  std::ifstream old(path, std::ios::binary);
  const std::string before{std::istreambuf_iterator<char>(old), std::istreambuf_iterator<char>()};
  if (old && before == text) return;
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: attn_headers DIRECTORY PLUGIN...\n");
    return 2;
  }
  try {
    const Types types = types_of(argv + 2, argc - 2);
    const std::string directory = argv[1];
    write_if_changed(directory + "/attention_type.hpp", attention_type_header(types));
    write_if_changed(directory + "/layers.hpp", layers_header(types));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "attn_headers: %s\n", e.what());
    return 1;
  }
  return 0;
}
