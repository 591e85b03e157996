"""Environment files: what our reader makes of them against what a service gets from the systemd that runs here."""

import base64
import json
import random
import time

from box import allow, execute

# Read alike. Every name starts with T_, so that what systemd adds of its own is left out.
SAME = {
    "plain": "T_A=1\nT_B=two\n",
    "no newline at the end": "T_A=1",
    "inline comment is none": "T_A=30        # per-job cap\n",
    "quoted, then more": 'T_A="quoted" # trailing\n',
    "blanks around": "T_A=  a  b  \n",
    "tabs around": "T_A=\ta\tb\t\n",
    "escapes in double quotes": 'T_A="a\\tb\\\\c\\"d\\$e\\`f"\n',
    "single quotes": "T_A='a\\tb'\n",
    "escapes without quotes": "T_A=a\\tb\\\\c\\$d\n",
    "continued": "T_A=one\\\ntwo\n",
    "continued with blanks": "T_A=one \\\n  two\n",
    "continued twice": "T_A=one\\\n\\\ntwo\n",
    "continued at the start": "T_A=\\\n  two\n",
    "continued into an empty line": "T_A=one \\\n\nT_B=2\n",
    "continued at the end of the file": "T_A=one\\",
    "continued in double quotes": 'T_A="one\\\ntwo"\n',
    "not continued in single quotes": "T_A='one\\\ntwo'\n",
    "two lines in double quotes": 'T_A="one\ntwo"\nT_B=2\n',
    "two lines in single quotes": "T_A='one\ntwo'\nT_B=2\n",
    "quoted and plain": 'T_A="a"b\n',
    "quoted twice": 'T_A="a" "b"\n',
    "quoted both ways": "T_A='a'\"b\"\n",
    "quoted, then plain with quotes": 'T_A="a" b "c"\n',
    "quotes inside": 'T_A=a"b"c\n',
    "escape after a quote": 'T_A="a"\\ b\n',
    "escaped blanks": "T_A=\\ a\\ \n",
    "escaped quote": "T_A=\\\"a\n",
    "no expansion": "T_A=$HOME/${HOME}/`id`/*\n",
    "empty": "T_A=\nT_B=\"\"\nT_C=''\n",
    "blanks in quotes": 'T_A="  "\n',
    "equals in the value": "T_A=a=b==\n",
    "blanks before the name": "   T_A=1\n\t T_B=2\n",
    "blanks after the name": "T_A =1\nT_B\t= 2\n",
    "the later wins": "T_A=1\nT_A=2\n",
    "comments": "# a\n; b\n  # c\n\n\n   \nT_A=1\n#T_B=2\n",
    "hash and semicolon in a value": "T_A=#x\nT_B=;y\nT_C=a;b#c\n",
    "a comment that continues into a comment": "# a\\\n# b\nT_A=1\n",
    "a comment that continues into nothing": "# a\\\n\nT_A=1\n",
    "carriage returns": "T_A=1\r\nT_B=\"two\"\r\nT_C= three \r\n# c\r\nT_D='4'\r\n",
    "carriage returns in quotes": 'T_A="one\r\ntwo"\r\n',
    "a carriage return that ends a line": "T_A=1\rT_B=2\r",
    "a comment with backslash and carriage return": "# a\\\r\nT_A=1\r\n",
    "escaped carriage return in quotes": 'T_A="a\\\r\nb"\n',
    "unknown escapes in double quotes": 'T_A="\\a\\ \\\'\\n"\n',
    "UTF-8": "T_A=h\u00e9llo \u00a7 \U0001f331\n",
    "UTF-8 in quotes": "T_A=\"\u00fc\" '\u00df'\n",
    "UTF-8 in a comment": "# \u00fc\nT_A=1\n",
    "a control character": "T_A=a\x01b\x7fc\n",
    "a tab in quotes": "T_A=\"a\tb\"\n",
    "underscores and digits": "T_=1\nT__9=2\nT_A9_=3\n",
    "a JSON value": 'T_A=\'{"a": [1, "b\\n"]}\'\n',
    "a URL": "T_A=postgres://u:p%40ss@db:5432/x?sslmode=require&a=b#frag\n",
    "keys as base64": "T_A=v1:c2VjcmV0PT0=,v2:YWJj\n",
    "a vertical tab and a form feed": "T_A=a\x0b\x0c\nT_B=\x0bb\n",
    "a long value": "T_A=" + "x" * 60000 + "\n",
    "many": "".join(f"T_{n}={n}\n" for n in range(500)),
    "quotes of the other kind": "T_A=\"it's\"\nT_B='say \"x\"'\n",
    "empty quotes before and after": "T_A=''a''\nT_B=\"\"b\n",
    "a quote after a blank in a plain value": 'T_A=a "b" c\n',
    "a hash after quotes": 'T_A="a"#b\nT_B=\'a\' ; b\n',
    "backslashes at the end of quotes": "T_A='a\\'\nT_B=\"a\\\\\"\n",
    "a backslash before a blank at the end": "T_A=a\\ \nT_B=b\\\t\n",
    "continued in the middle of blanks": "T_A=a  \\\n  b  \\\n  c\n",
    "continued after a quote": 'T_A="a"\\\n"b"\nT_B=1\n',
    "a comment sign after a continuation": "T_A=a\\\n#b\nT_B=1\n",
    "empty lines in quotes": 'T_A="\n\n"\nT_B=\'\n\'\n',
    "an assignment in quotes": 'T_A="T_B=1\nT_C=2"\n',
    "only a backslash": "T_A=\\\nT_B=1\n",
    "two backslashes at the end": "T_A=a\\\\\nT_B=1\n",
    "blanks between name and sign over tabs": "T_A \t = \t x\n",
    "no-break and wide blanks": "T_A=\u00a0a\u00a0\nT_B=\u2003b\u2003\n",
    "an emoji with joiners": "T_A=\U0001f469\u200d\U0001f4bb\n",
    "dollar and backtick escaped without quotes": "T_A=\\$HOME\\`id\\`\n",
    "percent signs": "T_A=%n%%i%I\n",
    "line and paragraph separators": "T_A=a\u2028b\u2029c\u0085d\n",
    "a name that systemd sets itself is set anew": "HOME=/x\nT_A=1\n",
    "as long as a line of many continuations": "T_A=" + "x\\\n" * 3000 + "y\n",
    "nothing": "",
    "only blanks": " \n\t\n\n",
    "only a comment": "# a",
}

# Refused by us; systemd drops the line, takes it for something else, or refuses the file.
REFUSED = {
    "no equals": "T_A=1\nnonsense\n",
    "no equals at the end": "T_A=1\nnonsense",
    "no name": "=1\n",
    "a bad name": "T-A=1\n",
    "a name that starts with a digit": "1T=1\n",
    "a name with a blank": "T A=1\n",
    "a name that is not ASCII": "T_\u00c4=1\n",
    "an open double quote": 'T_A="abc\nT_B=2\n',
    "an open single quote": "T_A='abc\nT_B=2\n",
    "a value that is not UTF-8": b"T_A=\xff\n",
    "a NUL": b"T_A=1\nT_B=a\0b\n",
    "a byte order mark": "\ufeffT_A=1\n",
    "a comment that hides a line": "# C:\\dir\\\nT_A=1\n",
    "a continuation that CRLF breaks": "T_A=one\\\r\ntwo\r\n",
    "too long for a program": "T_A=" + "x" * 131072 + "\n",
}

# Runs in the box: what a service gets for each file, in one go.
PROBE = r"""
import base64, json, subprocess, sys
answers = {}
for name, text in json.load(sys.stdin).items():
    path = "/tmp/probe.env"
    with open(path, "wb") as file:
        file.write(base64.b64decode(text))
    ran = subprocess.run(["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec",
                          "-p", "EnvironmentFile=" + path, "/usr/bin/env", "-0"], stdin=subprocess.DEVNULL, capture_output=True)
    ours = subprocess.run(["/usr/src/stem-build/tests/unit/env-file-values", path], capture_output=True)
    answers[name] = [ran.returncode, base64.b64encode(ran.stdout).decode(),
                     ours.returncode, base64.b64encode(ours.stdout).decode(), ours.stderr.decode()]
print(json.dumps(answers))
"""


def ask(box, files):
    texts = {name: base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode() for name, text in files.items()}
    return json.loads(box.run(["python3", "-c", PROBE], input=json.dumps(texts), timeout=120).stdout)


def values(output):
    entries = base64.b64decode(output).split(b"\0")
    return {key: value for key, _, value in (entry.partition(b"=") for entry in entries) if key.startswith(b"T_")}


@allow(seconds=120)
def test_a_file_is_read_as_this_systemd_reads_it(box):
    assert len(SAME) >= 75
    for name, (status, theirs, our_status, ours, error) in ask(box, SAME).items():
        assert status == 0, f"{name}: systemd refused it, status {status}"
        assert our_status == 0, f"{name}: we refused it: {error}"
        assert values(ours) == values(theirs), f"{name}: ours {values(ours)}, systemd's {values(theirs)}"


@allow(seconds=60)
def test_a_file_that_systemd_takes_otherwise_than_it_is_meant_is_refused(box):
    for name, (_, _, our_status, ours, error) in ask(box, REFUSED).items():
        assert our_status == 78, f"{name}: {our_status} {ours}"
        assert error.startswith("/tmp/probe.env:"), f"{name}: {error}"


GRAMMAR = ["\"", "'", "\\", "#", ";", "=", "\n", "\r", "\t", " ", "$", "`", "T_A", "T_B=", "x", "\u00e9", "export ", "\\\n"]


@allow(seconds=180)
def test_random_files_that_are_accepted_are_read_as_this_systemd_reads_them(box):
    chance = random.Random(20261122)
    files = {}
    for number in range(250):
        text = "".join(chance.choice(["T_A=1\n", 'T_B="two words" more\n', "T_C='x\ny'\n", "# c\n", "T_D=a\\\n b\n"]) for _ in range(3))
        for _ in range(chance.randint(1, 6)):
            at = chance.randint(0, len(text))
            text = text[:at] + chance.choice(GRAMMAR) + text[at + chance.randint(0, 2):]
        files[f"{number}: {text!r}"] = text
    accepted = 0
    for name, (status, theirs, our_status, ours, error) in ask(box, files).items():
        assert our_status in (0, 78), f"{name}: {our_status} {error}"
        if our_status == 0:
            accepted += 1
            # systemd drops a line of `export`, which we take with a warning.
            exported = {key for key, value in values(ours).items() if f"export {key}" in files[name]}
            left = {key: value for key, value in values(ours).items() if key not in exported}
            told = {key: value for key, value in values(theirs).items() if key not in exported}
            assert status == 0 and left == told, f"{name}: ours {left}, systemd's {told}"
    assert 30 < accepted < 250, accepted


def start_with(stage, file):
    began = time.monotonic()
    ran = execute(["sh", "-c", f"ulimit -v 1000000; exec stem worker start --app /nowhere.so --env-file '{file}'"],
                  env=stage.environment(), timeout=30)
    return ran, time.monotonic() - began


def test_a_file_of_100_MB_an_endless_one_and_a_binary_one_are_refused_at_once(stage, tmp):
    huge = tmp / "huge.env"
    with open(huge, "wb") as file:
        for _ in range(100):
            file.write(b"T_A=" + b"x" * (1 << 20) + b"\n")
    for path, words in ((huge, "larger than 64 MiB"), ("/dev/zero", "larger than 64 MiB"), ("/bin/ls", "78")):
        ran, took = start_with(stage, path)
        assert ran.rc == 78 and took < 10, (path, ran, took)
        assert words == "78" or words in ran.stderr, ran.stderr
        assert ran.stderr.startswith(f"stem: {path}:") and ran.stderr.count("\n") == 1 and len(ran.stderr) < 400, ran.stderr
        assert all(sign >= " " or sign == "\n" for sign in ran.stderr), ran.stderr


def test_nothing_is_started_with_a_file_that_is_missing_wrong_or_secret(stage, tmp):
    for text, code, words in (("A=1\nno sign\n", 78, ":2: a line without `=`"), ("A=1\r\nB=x\0y\r\n", 78, ":2: a NUL byte"),
                              ('PASSWORD="s3cret\n', 78, ":1: a quote is opened")):
        file = tmp / "some.env"
        file.write_text(text)
        ran, _ = start_with(stage, file)
        assert ran.rc == code and words in ran.stderr and "s3cret" not in ran.stderr, ran.stderr
    ran, _ = start_with(stage, tmp / "none.env")
    assert ran.rc == 66 and f"{tmp}/none.env" in ran.stderr, ran.stderr
