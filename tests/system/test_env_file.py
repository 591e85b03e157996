"""Environment files: what our reader makes of them against what a service gets from the systemd that runs here."""

import base64
import json

from box import allow

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
    assert len(SAME) >= 55
    for name, (status, theirs, our_status, ours, error) in ask(box, SAME).items():
        assert status == 0, f"{name}: systemd refused it, status {status}"
        assert our_status == 0, f"{name}: we refused it: {error}"
        assert values(ours) == values(theirs), f"{name}: ours {values(ours)}, systemd's {values(theirs)}"


@allow(seconds=60)
def test_a_file_that_systemd_takes_otherwise_than_it_is_meant_is_refused(box):
    for name, (_, _, our_status, ours, error) in ask(box, REFUSED).items():
        assert our_status == 78, f"{name}: {our_status} {ours}"
        assert error.startswith("/tmp/probe.env:"), f"{name}: {error}"
