"""Values for tests of rendering, and the judge of the events made of them.

    rendering.py values SEED DIRECTORY     writes load.sql and expected
    rendering.py expect DUMP EXPECTED      the same of what encodings.sql dumped
    rendering.py judge EVENTS EXPECTED JACKSON

EVENTS has a line "key in hex <tab> value" for each event, EXPECTED a line of
JSON with type, key, tenant, pk and data, JACKSON what Jackson made of EVENTS.
Values are made here, not by PostgreSQL, so that no error is on both sides.
"""
import json
import random
import sys
from decimal import Decimal


def no_duplicates(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"a name is there twice: {[name for name, _ in pairs]}")
    return result


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def parse(text):
    """As strict as Python can be: valid UTF-8, no control characters in
    strings, no NaN, no name twice, and all digits of numbers count."""
    return json.loads(text.decode("utf-8", "strict"), strict=True, parse_float=Decimal,
                      parse_constant=no_constant, object_pairs_hook=no_duplicates)


def pk_text(text):
    for char in "%,/:":
        text = text.replace(char, f"%{ord(char):02X}")
    return text


# ---- values of types, as PostgreSQL reads them and as an event has them ----

def copy_text(text):
    """A value in a line of COPY."""
    for char, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return text


def array_text(items):
    return "{" + ",".join('"' + i.replace("\\", "\\\\").replace('"', '\\"') + '"' for i in items) + "}"


def row_text(items):
    return "(" + ",".join('"' + i.replace("\\", "\\\\").replace('"', '""') + '"' for i in items) + ")"


def any_point(rng):
    while True:
        kind = rng.randrange(5)
        point = rng.randrange(1, (0x20, 0x80, 0x800, 0x10000, 0x110000)[kind])
        if not 0xD800 <= point <= 0xDFFF:
            return chr(point)


def any_text(rng, bytes_at_most):
    text = ""
    for _ in range(rng.randrange(40)):
        char = rng.choice('"\\/%,:{}') if rng.random() < 0.2 else any_point(rng)
        if len((text + char).encode()) > bytes_at_most:
            break
        text += char
    return text


def escaped(rng, text):
    """The text as a JSON string, with escapes wherever they may be."""
    out = ""
    for char in text:
        if char in '"\\' or ord(char) < 0x20 or rng.random() < 0.3:
            units = char.encode("utf-16-be")
            out += "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
        elif char == "/" and rng.random() < 0.5:
            out += "\\/"
        else:
            out += char
    return '"' + out + '"'


def any_number(rng):
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 3, 17, 40, 400))))
    digits = digits.lstrip("0") or "0"
    text = ("-" if rng.random() < 0.5 else "") + digits
    if rng.random() < 0.5:
        text += "." + "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 5, 300))))
    return text


def any_json(rng, depth=0):
    """(text as somebody might write it, value)"""
    def space():
        return rng.choice(("", "", " ", "\n\t", "\r\n"))

    kind = rng.randrange(4 if depth > 3 else 7)
    if kind == 0:
        text = rng.choice(("null", "true", "false"))
        return space() + text + space(), json.loads(text)
    if kind == 1:
        text = any_number(rng)
        if rng.random() < 0.3:
            text += rng.choice(("e5", "E+400", "e-30"))
        return space() + text + space(), Decimal(text)
    if kind < 4:
        value = any_text(rng, 200)
        return space() + escaped(rng, value) + space(), value
    if kind == 4:
        items = [any_json(rng, depth + 1) for _ in range(rng.randrange(5))]
        return "[" + ",".join(i[0] for i in items) + "]", [i[1] for i in items]
    names = [any_text(rng, 50) for _ in range(rng.randrange(4))]
    members, value = [], {}
    for name in names + names[:rng.randrange(2)]:
        text, item = any_json(rng, depth + 1)
        members.append(space() + escaped(rng, name) + space() + ":" + text)
        value[name] = item
    return space() + "{" + ",".join(members) + "}", value


def as_json(value):
    """For the file of expected events, where Decimal keeps its digits."""
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + as_json(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_json(v) for v in value) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value)


class Load:
    def __init__(self, directory):
        self.sql = open(f"{directory}/load.sql", "w", encoding="utf-8", newline="\n")
        self.expected = open(f"{directory}/expected", "w", encoding="ascii")

    def table(self, name, columns, pk="k"):
        self.name, self.pk = name, pk
        self.columns = columns.split(",")
        self.sql.write(f"COPY {name} ({columns}) FROM STDIN;\n")

    def row(self, *values):
        """Values are texts that are rendered as they are, or (text, value)."""
        pairs = [v if isinstance(v, tuple) else (v, v) for v in values]
        data = dict(zip(self.columns, (p[1] for p in pairs)))
        key = str(data[self.pk])
        self.sql.write("\t".join(copy_text(p[0]) for p in pairs) + "\n")
        self.expected.write(as_json({
            "type": self.name, "key": pk_text(key), "tenant": key,
            "pk": {self.pk: data[self.pk]}, "data": data}) + "\n")

    def end(self):
        self.sql.write("\\.\n")


def write_values(seed, directory):
    rng = random.Random(seed)
    load = Load(directory)

    # every code point, raw and escaped
    points = [chr(p) for p in range(1, 0x110000) if not 0xD800 <= p <= 0xDFFF]
    load.table("points", "k,j,jb")
    for start in range(0, len(points), 500):
        chunk = "".join(points[start:start + 500])
        load.row(chunk, (escaped(rng, chunk), chunk), (escaped(rng, chunk), chunk))
    load.end()

    # every byte
    load.table("bytes", "k,c")
    for byte in range(256):
        char = chr(byte) if 0 < byte < 0x80 else "" if byte == 0 else f"\\{byte:03o}"
        load.row("\\x" + bytes([byte, 0, byte]).hex(), (f"\\{byte:03o}", char))
    for _ in range(100):
        load.row("\\x" + rng.randbytes(rng.randrange(4, 1000)).hex(), ("\\000", ""))
    load.end()

    # everything together
    labels = sorted({any_text(rng, 63) for _ in range(300)} - {""})
    for label in labels:
        quoted = label.replace("'", "''")
        load.sql.write(f"ALTER TYPE label ADD VALUE '{quoted}';\n")
    load.table("mixed", "k,e,n,p,t,a,r,j,jb,ja,x,f")
    for i in range(3000):
        texts = [any_text(rng, 2000) for _ in range(3)]
        name, padded = any_text(rng, 63), any_text(rng, 100).rstrip(" ")[:30]
        number, real = any_number(rng), rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
        json_array = [any_json(rng) for _ in range(2)]
        load.row(f"{i}{texts[0]}", rng.choice(labels), name, (padded, padded.ljust(30)), texts[1],
                 (array_text(texts), texts), (row_text(texts[:2]), {"a": texts[0], "b": texts[1]}),
                 any_json(rng), any_json(rng),
                 (array_text([j[0] for j in json_array]), [j[1] for j in json_array]),
                 (number, Decimal(number)), (repr(real), Decimal(repr(real))))
    load.end()


def write_expected(dump, expected):
    """The dump has lines "database,text,first character" (in hex) in the order of the events."""
    with open(dump, encoding="ascii") as lines, open(expected, "w", encoding="ascii") as out:
        for line in lines:
            database, *texts = line.rstrip("\n").split(",")
            text, first = (bytes.fromhex(t).decode("utf-8", "strict") for t in texts)
            out.write(as_json({
                "type": database, "key": pk_text(text), "tenant": text, "pk": {"k": text},
                "data": {"k": text, "v": text, "j": text, "jb": text, "a": [text], "n": first},
            }) + "\n")


def judge(events, expected, jackson):
    count = 0
    with open(events, "rb") as e, open(expected, "rb") as x, open(jackson, "rb") as j:
        for event, wanted, again in zip(e, x, j, strict=True):
            count += 1
            key, value = event.rstrip(b"\n").split(b"\t")
            value, wanted = parse(value), parse(wanted)
            if parse(again) != value:
                sys.exit(f"event {count}: Jackson sees something else: {value!r}, {again!r}")
            value["key"] = bytes.fromhex(key.decode()).decode("utf-8", "strict")
            if set(value["data"]) != set(wanted["data"]):
                sys.exit(f"event {count}: other columns")
            for part, right in ((value, wanted), (value["data"], wanted["data"])):
                for name in right:
                    # of the texts for a float, PostgreSQL takes another one at times
                    if name == "f" and float(part[name]) == float(right[name]):
                        continue
                    if name != "data" and part.get(name) != right[name]:
                        sys.exit(f"event {count} ({wanted['type']}): {name} is {part.get(name)!r},"
                                 f" not {right[name]!r}")
    print(count)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "values":
        write_values(int(arguments[0]), arguments[1])
    elif command == "expect":
        write_expected(*arguments)
    else:
        judge(*arguments)
