#include <doctest/doctest.h>
#include <sys/stat.h>

#include <stem/error.hpp>

#include "service/env_file.hpp"
#include "temp_dir.hpp"

using stem::EnvFile;
using stem::Error;
using stem::Exit;

namespace {

/// The value of the last entry; every other key is ignored.
std::string value(const std::string& text) {
  return EnvFile::parse(text, "f").entries.back().value;
}

std::string refusal(const std::string& text) {
  try {
    EnvFile::parse(text, "f");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::config);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("env_file: values are those that systemd gives to a service") {
  CHECK(value("INLINE=30        # per-job cap") == "30        # per-job cap");
  CHECK(value("Q=\"quoted\" # trailing comment") == "quoted# trailing comment");
  CHECK(value("SPACED=  a  b  \n") == "a  b");
  CHECK(value("SPACED=  a  b  ") == "a  b");
  CHECK(value("DQ=\"a\\tb\\\\c\\\"d\\$e\\`f\"") == "a\\tb\\c\"d$e`f");
  CHECK(value("SQ='a\\tb'") == "a\\tb");
  CHECK(value("UQ=a\\tb\\\\c\\$d") == "atb\\c$d");
  CHECK(value("CONT=one\\\ntwo\n") == "onetwo");
  CHECK(value("CONT=\"one\\\ntwo\"\n") == "onetwo");
  CHECK(value("CONT='one\\\ntwo'\n") == "one\\\ntwo");
  CHECK(value("LINES=\"l1\nl2\"") == "l1\nl2");
  CHECK(value("LINES='l1\nl2'") == "l1\nl2");
  CHECK(value("CAT=\"a\"b") == "ab");
  CHECK(value("CAT=\"a\" \"b\"") == "ab");
  CHECK(value("CAT='a'\"b\" c") == "abc");
  CHECK(value("CAT=a\"b\"c") == "a\"b\"c");
  CHECK(value("D=$HOME/x") == "$HOME/x");
  CHECK(value(" LEAD=1") == "1");
  CHECK(value("EMPTY=\n") == "");
  CHECK(value("EMPTY=") == "");
  CHECK(value("EMPTY=\"\"") == "");
  CHECK(value("EQUALS=a=b==") == "a=b==");
  CHECK(value("BLANKS=\"  \"") == "  ");
  CHECK(value("ESCAPED=\\ a\\ ") == " a ");
  CHECK(value("KEPT=a \\\n\n") == "a ");
  CHECK(value("KEPT=a \\\n b \n") == "a  b");
  CHECK(value("LAST=a\\") == "a");
  CHECK(value("HASH=#no") == "#no");
  CHECK(value("CRLF=a b\r\n") == "a b");
  CHECK(value("CRLF=\"a\"\r\nNEXT=b\r\n") == "b");
  CHECK(value("CR=a\rNEXT=b") == "b");
  CHECK(value("UTF=h\xC3\xA9llo \xF0\x9F\x8C\xB1") == "h\xC3\xA9llo \xF0\x9F\x8C\xB1");
}

TEST_CASE("env_file: keys, order, line numbers and comments") {
  const auto file =
      EnvFile::parse("# one\n; two\n\n  \t\nA = 1\nB=\"x\ny\"\n  # three\\\n# four\nA=2\n", "f");
  const std::vector<EnvFile::Entry> expected = {{"A", "1", 5}, {"B", "x\ny", 6}, {"A", "2", 10}};
  CHECK(file.entries == expected);
  CHECK(file.warnings.empty());
  stem::Environment environment = {{"A", "0"}, {"C", "3"}};
  file.apply_to(environment);
  CHECK(environment == stem::Environment{{"A", "2"}, {"B", "x\ny"}, {"C", "3"}});
  CHECK(EnvFile::parse("", "f").entries.empty());
  CHECK(EnvFile::parse("# only\\", "f").entries.empty());
  CHECK(EnvFile::parse("# crlf \\\r\nA=1", "f").entries.size() == 1);
}

TEST_CASE("env_file: export is taken, with a warning") {
  const auto file = EnvFile::parse("A=1\nexport  B=\"2\"\nexported=3\nexport\tC=4", "/etc/x.env");
  REQUIRE(file.entries.size() == 4);
  CHECK(file.entries[1] == EnvFile::Entry{"B", "2", 2});
  CHECK(file.entries[2].key == "exported");
  CHECK(file.entries[3].key == "C");
  REQUIRE(file.warnings.size() == 2);
  CHECK(file.warnings[0].starts_with("/etc/x.env:2: `export`"));
}

TEST_CASE("env_file: what systemd would drop, or take wrong, is refused with its line") {
  CHECK(refusal("A=1\nnonsense\n").starts_with("f:2: a line without `=`"));
  CHECK(refusal("A=1\nnonsense").starts_with("f:2: a line without `=`"));
  CHECK(refusal("\n\n=x").starts_with("f:3: no name before the `=`"));
  CHECK(refusal("BAD-KEY=x").starts_with("f:1: `BAD-KEY` is no name"));
  CHECK(refusal("1BAD=x").starts_with("f:1: `1BAD` is no name"));
  CHECK(refusal("TWO WORDS=x").starts_with("f:1: `TWO WORDS` is no name"));
  CHECK(refusal("export 1=x").starts_with("f:1: `1` is no name"));
  CHECK(refusal("\xC3\xA9=x").starts_with("f:1: `\\xc3\\xa9` is no name"));
  CHECK(refusal("A=1\nU=\"abc\nLAST=x\n").starts_with("f:2: a quote is opened"));
  CHECK(refusal("A='abc").starts_with("f:1: a quote is opened"));
  CHECK(refusal("A=\"").starts_with("f:1: a quote is opened"));
  CHECK(refusal("A=\"abc\\").starts_with("f:1: a quote is opened"));
  CHECK(refusal(std::string("A=1\nB=x\0y\n", 11)).starts_with("f:2: a NUL byte"));
  CHECK(refusal("A=1\nB=\xFF\n").starts_with("f:2: the value of B is not UTF-8"));
  CHECK(refusal("B=\xC0\x80").find("not UTF-8") != std::string::npos);          // overlong
  CHECK(refusal("B=\xED\xA0\x80").find("not UTF-8") != std::string::npos);      // a surrogate
  CHECK(refusal("B=\xF4\x90\x80\x80").find("not UTF-8") != std::string::npos);  // beyond U+10FFFF
  CHECK(refusal("B=\xE2\x82").find("not UTF-8") != std::string::npos);          // cut short
  CHECK(refusal("\xEF\xBB\xBF"
                "A=1")
            .starts_with("f:1: the file starts with a byte order mark"));
  CHECK(refusal("# C:\\dir\\\nA=1\n").starts_with("f:1: a comment that ends in a backslash"));
  CHECK(refusal("A=1\n#x\n#C:\\dir\\\n#y\\\nA=1\n").starts_with("f:4: a comment that ends in a backslash"));
  CHECK(refusal("A=1\r\nB=one\\\r\ntwo\r\n").starts_with("f:3: a line without `=`"));
}

TEST_CASE("env_file: an assignment may be as long as the kernel lets it be, and no longer") {
  const std::string longest(128 * 1024 - 1 - 2, 'x');
  CHECK(value("A=" + longest) == longest);
  CHECK(refusal("A=" + longest + "x").starts_with("f:1: the value of A is too long"));
}

TEST_CASE("env_file: no message shows a value") {
  CHECK(refusal("PASSWORD=\"s3cret").find("s3cret") == std::string::npos);
  CHECK(refusal("A=1\ns3cret").find("s3cret") == std::string::npos);
}

TEST_CASE("env_file: files that cannot be read name themselves") {
  const TempDir dir;
  const auto code = [](const std::string& path, const std::string& part) {
    try {
      EnvFile::read(path);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find(path) != std::string::npos);
      CHECK(std::string(error.what()).find(part) != std::string::npos);
      return error.code();
    }
    return Exit::ok;
  };
  CHECK(code(dir / "none.env", "No such file") == Exit::no_input);
  CHECK(code(dir.path(), "Is a directory") == Exit::no_input);
  CHECK(code(dir.file("bad.env", "A=1\nB\n"), ":2: a line without") == Exit::config);
  const auto huge = dir.file("huge.env", "");
  REQUIRE(truncate(huge.c_str(), 100 * 1024 * 1024) == 0);
  CHECK(code(huge, "larger than 64 MiB") == Exit::config);
  CHECK(EnvFile::read("/dev/null").entries.empty());
  CHECK(EnvFile::read(dir.file("good.env", "A=1\n")).entries.size() == 1);
}

TEST_CASE("env_file: no input crashes the reader or lets a bad name through") {
  // Every text of up to five characters from an alphabet of all that the grammar knows.
  const std::string alphabet = "A=\"'\\#\n\r ;";
  std::size_t accepted = 0;
  for (std::size_t length = 1; length <= 5; ++length) {
    std::string text(length, alphabet[0]);
    std::vector<std::size_t> digit(length, 0);
    for (;;) {
      for (std::size_t i = 0; i < length; ++i) text[i] = alphabet[digit[i]];
      try {
        for (const auto& entry : EnvFile::parse(text, "f").entries) {
          REQUIRE(entry.key.find_first_not_of('A') == std::string::npos);
          ++accepted;
        }
      } catch (const Error&) {
      }
      std::size_t place = 0;
      while (place < length && ++digit[place] == alphabet.size()) digit[place++] = 0;
      if (place == length) break;
    }
  }
  CHECK(accepted > 1000);
}

TEST_CASE(
    "env_file: who only looks gets all lines but those that are wrong, and a warning for each of them") {
  const std::string text =
      "A=1\nnonsense\n1BAD=x\n # a comment that ends so \\\nB=2\nC=\"never closed\nD='4'\nE=\xff\nexport "
      "F=6\n=x\nG=7";
  const auto file = EnvFile::parse(text, "f", EnvFile::WrongLines::skipped);
  stem::Environment found;
  file.apply_to(found);
  CHECK(found == stem::Environment{{"A", "1"}, {"B", "2"}, {"D", "4"}, {"F", "6"}, {"G", "7"}});
  std::string warnings;
  for (const auto& warning : file.warnings) warnings += warning.substr(0, 5);
  CHECK(warnings == "f:2: f:3: f:4: f:6: f:8: f:9: f:10:");
  CHECK_THROWS_AS(EnvFile::parse(text, "f"), Error);
  // What concerns the whole file is no line's fault.
  CHECK_THROWS_AS(EnvFile::parse(std::string("A=1\0", 4), "f", EnvFile::WrongLines::skipped), Error);
}

TEST_CASE("env_file: the process's own environment") {
  setenv("STEM_TEST_ENTRY", "a=b", 1);
  CHECK(stem::process_environment().at("STEM_TEST_ENTRY") == "a=b");
  unsetenv("STEM_TEST_ENTRY");
}
