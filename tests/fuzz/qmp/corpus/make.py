#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the first corpus of the three targets: hand-made inputs and recorded replies.

    tests/fuzz/qmp/corpus/make.py        # files are named by content; existing ones stay
"""
import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent.parent.parent / "fixtures" / "qmp"

# The order of fuzz-decoders.c.
DECODERS = ["query-cpus-fast", "query-hotpluggable-cpus", "query-memdev", "query-memory-devices",
            "query-stats", "info ramblock", "query-status", "query-name", "query-uuid", "query-kvm",
            "query-dirty-rate", "query-migrate", "gpa2hva"]


def write(target, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def codec():
    for text in (
            b'{"execute":"query-status","id":1}\r\n', b'{"a":[1,-2.5e3,true,false,null]}{"b":{}}',
            b'{"a":"\\u00e4\\ud83d\\ude00\\n\\\\"}', '{"a":"ä€😀"}'.encode(), b'{"a": bad}{"b":2}',
            b'{"a" 1,\n "b": 2}\n{"c":3}', b'{"half": "\xff{"b":2}', b'[[[[[[[1]]]]]]]\n{}',
            b'[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26]\n{}',
            b'{"n":18446744073709551615,"m":-9223372036854775808}', b'{"a":"\\u0000"}{}',
            b'{"QMP":{"version":{"qemu":{"micro":1,"minor":2,"major":7},"package":""},'
            b'"capabilities":["oob"]}}',
            b'{"timestamp":{"seconds":1,"microseconds":2},"event":"STOP","data":{}}',
            b'{"error":{"class":"GenericError","desc":"x"},"id":1}', b'hello {} }{ ]\n{}'):
        for piece in (0, 9, 245):
            write("codec", bytes([piece]) + text)


def control():
    for text in (
            b'{"execute":"qmp_capabilities"}', b'{"execute":"query-commands","id":[1]}',
            b'{"execute":"change","arguments":{"name":"a","node":1,"on":true,"share":0.5,'
            b'"all":["b"],"policy":{}}}',
            b'{"execute":"echo","arguments":{"name":"\\ud83d"},"id":"x"}',
            b'{"execute":"echo","arguments":{"name":"a","all":[1]}}',
            b'{"execute":"subscribe","arguments":{"events":["MOVED","ROUND"]}}',
            b'{"execute":"unsubscribe"}', b'{"execute":"help","arguments":{"command":"echo"}}',
            b'{"execute":"query-events"}', b'{"exec-oob":"echo"}', b'{"return":{}}',
            b'{"execute":5}', b'{"execute":"x","arguments":[]}', b'{"execute": bad}\n{"id":null}'):
        for socket in range(4):
            write("control", bytes([socket]) + b'{"execute":"qmp_capabilities"}' + text)


def decoders():
    seen = set()
    for path in sorted(FIXTURES.glob("*/*.conversation")):
        command = None
        for line in path.read_text().splitlines():
            if line.startswith("-> ") and ":bad}" not in line:
                sent = json.loads(line[3:])
                command = sent["execute"]
                words = sent.get("arguments", {}).get("command-line", "")
                if words:
                    command = "info ramblock" if words == "info ramblock" else words.split()[0]
            elif line.startswith("<- ") and command in DECODERS:
                value = json.loads(line[3:]).get("return")
                text = json.dumps(value, separators=(",", ":"))
                shape = (command, len(text), path.parent.name)
                if value is None or shape in seen or len(text) > 1500:
                    continue
                seen.add(shape)
                body = '"' + value if isinstance(value, str) else text
                write("decoders", bytes([DECODERS.index(command)]) + body.encode())
    for text in ('{"vcpu-dirty-rate":[{"dirty-rate":41,"id":0}],"status":"measured",'
                 '"sample-pages":0,"dirty-rate":115,"mode":"dirty-ring","calc-time":1}',):
        write("decoders", bytes([DECODERS.index("query-dirty-rate")]) + text.encode())
    write("decoders", bytes([DECODERS.index("query-memory-devices")]) +
          b'[{"type":"hv-balloon","data":{"memaddr":1}},{"type":"nvdimm","data":'
          b'{"memdev":"/x","addr":1,"size":2,"node":0}}]')
    write("decoders", bytes([DECODERS.index("query-stats")]) +
          b'[{"provider":"kvm","stats":[{"name":"h","value":[1,2]},{"name":"b","value":true}]}]')


if __name__ == "__main__":
    codec()
    control()
    decoders()
