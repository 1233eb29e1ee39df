#!/usr/bin/env python3
"""The structure of the source: what may include what, sizes, names, SQLSTATEs.

Each rule is a function that returns what breaks it, as a set of names.  Some
faults are known, and listed below by name.  A test fails for a fault that is
not listed, and for a listed fault that is gone: so the lists can only shrink.
Do not add to them.

At the end each rule is tried on a copy of the source with a planted fault,
because a rule that finds nothing proves nothing.

Called with the path of a tree, the script looks at that one.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# Modules that include each other.  A circle is its modules in the order of the
# alphabet.
KNOWN_CIRCLES = set()

# A module that includes one of a room further up.
KNOWN_AGAINST_THE_WAY = set()

# In lines.
MAX_FUNCTION = 80
MAX_FILE = 600

# Rooms from below to above: a room includes only rooms of a lower number.
# Rooms of the same number know nothing of each other.
ROOMS = {'': 0, 'event': 1, 'reader': 2, 'capture': 2, 'position': 3, 'sender': 4,
         'publisher': 5, 'admin': 6}
# Files of src itself that are above all rooms: they put the parts together.
ABOVE_ALL = {'evpub', 'parameters'}
# The relay is a program of its own.  These alone it has in common with the rest.
SHARED_WITH_RELAY = {'clock.h', 'frame.h', 'filemark.h', 'relaysettings.h'}

# A room that is one module of several files, with one header for others.
ONE_MODULE = {'event/event': {'chunk', 'mac', 'positionmessage', 'read', 'output', 'write', 'event'}}

# A header that is included for what its lines are made into, again and again.
UNGUARDED = {'capture/optionlist.h'}

# SQLSTATEs that are raised and not documented, with the reason.
NOT_FOR_USERS = {
    '01000',    # a warning
    '42710',    # of the worker, there is another slot: register_database() says 55000
    '53200',    # out of memory
    '57014',    # ends the count of what a gap loses, which catches it
    '57P01',    # the server or the publisher is being stopped
    'XX000',    # a library of PostgreSQL has failed
}
# SQLSTATEs that are documented, and that PostgreSQL's own functions raise.
OF_POSTGRESQL = {
    '22003', '22P02', '22P05',  # to_jsonb, casts, encodings
    '25006',    # PreventCommandIfReadOnly, PreventCommandDuringRecovery
    '42601', '42804',   # the parser, about a filter
}


# Files of others that comments and docs name.
OF_OTHERS = {'pg_locale.h', 'x509_vfy.h', 'xlogreader.c', 'xlogrecord.h'}


class Source:
    """The files of src, and what they include of each other."""

    def __init__(self, root):
        self.root = root
        self.src = os.path.join(root, 'src')
        self.text = {}
        for path in glob.glob(self.src + '/**/*.[ch]', recursive=True):
            with open(path, encoding='utf-8') as file:
                self.text[os.path.relpath(path, self.src)] = file.read()
        # file: those of src that it includes, and the others
        self.includes = {name: [] for name in self.text}
        self.others = {name: [] for name in self.text}
        for name, text in self.text.items():
            for mark, found in re.findall(r'^#\s*include\s*(["<])([^">]+)', text, re.M):
                beside = os.path.normpath(os.path.join(os.path.dirname(name), found))
                if mark == '"' and beside in self.text:
                    self.includes[name].append(beside)
                elif mark == '"' and found in self.text:
                    self.includes[name].append(found)
                else:
                    self.others[name].append(mark + found)


def room(name):
    return os.path.dirname(name)


def module(name):
    stem = os.path.splitext(name)[0]
    for whole, parts in ONE_MODULE.items():
        if room(name) == room(whole) and os.path.basename(stem) in parts:
            return whole
    return stem


def circles(source):
    """Modules that reach each other by includes (Tarjan)."""
    graph = {}
    for name, found in source.includes.items():
        here = graph.setdefault(module(name), set())
        here |= {module(other) for other in found} - {module(name)}
    number, low, stack, result = {}, {}, [], set()

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            at = stack.index(node)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                result.add(' '.join(sorted(circle)))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return result


def rank(name):
    if module(name) in ABOVE_ALL:
        return max(ROOMS.values()) + 1
    return ROOMS.get(room(name))


def against_the_way(source):
    """Includes that do not go down."""
    result = set()
    for name, found in source.includes.items():
        for other in found:
            same_room = room(name) == room(other)
            if 'relay' in (room(name), room(other)):
                wrong = not same_room and not (room(name) == 'relay' and
                                               other in SHARED_WITH_RELAY)
            elif rank(name) is None or rank(other) is None:
                wrong = True    # a room that ROOMS does not name
            elif same_room:
                wrong = rank(name) < rank(other)
            else:
                wrong = rank(name) <= rank(other)
            if wrong:
                result.add(f'{name} includes {other}')
    return result


def foreign_headers(source):
    """librdkafka outside of the relay, PostgreSQL in what the relay is made of."""
    result = set()
    for name, found in source.others.items():
        relay = room(name) == 'relay' or name in SHARED_WITH_RELAY
        for other in found:
            kafka = 'rdkafka' in other
            # PostgreSQL's are included with quotation marks
            postgres = other[0] == '"' or re.match('<(postgres|pg_|libpq|c[.]h)', other)
            if (kafka and room(name) != 'relay') or (postgres and relay and not kafka):
                result.add(f'{name} includes {other[1:]}')
    return result


def versions(source):
    """PostgreSQL's version outside of compat.h, librdkafka's in several files."""
    result = {name for name, text in source.text.items()
              if re.search(r'\bPG_(VERSION|MAJORVERSION)(_NUM)?\b', text) and name != 'compat.h'}
    kafka = sorted(name for name, text in source.text.items()
                   if re.search(r'^#.*\bRD_KAFKA_VERSION\b', text, re.M))
    return result | set(kafka[1:])


def heads(source):
    """Files that do not begin with their name and what they do, headers without a guard."""
    result = set()
    for name, text in source.text.items():
        base = re.escape(os.path.basename(name))
        if not re.match(rf'/\*\n \* {base}\n \*\t\t\S', text):
            result.add(f'{name}: head')
        if name.endswith('.h') and name not in UNGUARDED:
            guard = re.search(r'^#ifndef (\w+_H)\n#define \1\n', text, re.M)
            if not guard or not re.search(rf'^#endif\s*/\* {guard.group(1)} \*/\n\Z', text, re.M):
                result.add(f'{name}: guard')
    return result


def same_names(source):
    """Files of different rooms that bear the same name."""
    rooms = {}
    for name in source.text:
        rooms.setdefault(os.path.basename(name), []).append(name)
    return {' and '.join(sorted(names)) for names in rooms.values() if len(names) > 1}


def long_ones(source):
    """Files and functions that are too long; the opening brace is in the first column."""
    result = set()
    for name, text in source.text.items():
        lines = text.split('\n')
        if len(lines) - 1 > MAX_FILE:
            result.add(f'{name}: more than {MAX_FILE} lines')
        start = None
        for number, line in enumerate(lines):
            if line == '{':
                start = number
            elif line == '}' and start is not None:
                if number - start - 1 > MAX_FUNCTION:
                    result.add(f'{name}: {lines[start - 1]}')
                start = None
    return result


def sqlstates():
    """ERRCODE_ and PL/pgSQL names of PostgreSQL, each with its SQLSTATE."""
    share = subprocess.run([os.environ.get('PG_CONFIG') or 'pg_config', '--sharedir'],
                           check=True, capture_output=True, text=True).stdout.strip()
    names = {}
    with open(os.path.join(share, 'errcodes.txt'), encoding='utf-8') as file:
        for line in file:
            match = re.match(r'(\w{5})\s+[EWS]\s+(ERRCODE_\w+)(?:\s+(\w+))?', line)
            if match:
                names[match.group(2)] = match.group(1)
                names.setdefault(match.group(3), match.group(1))
    return names


def undocumented_states(source, names):
    """SQLSTATEs that are raised and not in docs/sql.md, or there and not raised."""
    raised = set()
    for text in source.text.values():
        # not where one is only compared
        for name in re.findall(r'(?:errcode\(|answer_refuse\(\w+,\s*|[?:] )(ERRCODE_\w+)', text):
            raised.add(names[name])
    for path in glob.glob(os.path.join(source.root, 'sql', '*.sql')):
        with open(path, encoding='utf-8') as file:
            for name in re.findall(r"ERRCODE = '(\w+)'", file.read()):
                raised.add(names[name])
    with open(os.path.join(source.root, 'docs', 'sql.md'), encoding='utf-8') as file:
        documented = set(re.findall(r'\b[0-9A-Z]{5}\b', file.read())) & set(names.values())
    result = {f'{state} is raised and not in docs/sql.md'
              for state in raised - documented - NOT_FOR_USERS}
    result |= {f'{state} is in docs/sql.md and not raised'
               for state in documented - raised - OF_POSTGRESQL}
    result |= {f'{state} is listed in this test for no reason'
               for state in (NOT_FOR_USERS - raised) | (NOT_FOR_USERS & documented) |
               (OF_POSTGRESQL - documented) | (OF_POSTGRESQL & raised)}
    return result


COMMENT = re.compile(r'/\*.*?\*/', re.S)


def read_all(root, *patterns):
    """File: text, of all that match, with paths below root."""
    result = {}
    for pattern in patterns:
        for path in glob.glob(os.path.join(root, pattern), recursive=True):
            with open(path, encoding='utf-8', errors='replace') as file:
                result[os.path.relpath(path, root)] = file.read()
    return result


def stale_names(source):
    """Names of files and of our functions, types and macros that nothing has any more."""
    root = source.root
    code = read_all(root, 'src/**/*.[ch]', 'test/**/*.[ch]')
    others = read_all(root, 'sql/*.sql', 'monitoring/*', 'test/**/*.p[lmy]', 'test/suite', 'test/run')
    files = {os.path.basename(name) for name in code} | OF_OTHERS
    known = set()
    for text in code.values():
        known |= set(re.findall(r'\w+', COMMENT.sub('', text)))
    for text in others.values():
        known |= set(re.findall(r'\w+', text))
    prose = {name: '\n'.join(COMMENT.findall(text)) for name, text in code.items()
             if name.startswith('src')}
    prose |= read_all(root, 'docs/*.md', '*.md')
    result = set()
    for name, text in prose.items():
        for word in re.findall(r'\b(?:evpub_|Evpub|EVPUB_)\w+', text):
            # EVPUB_EVENT_* stands for those that begin so, and there are plurals
            if not {word, word.removesuffix('s')} & known and \
                    not any(other.startswith(word) for other in known if word.endswith('_')):
                result.add(f'{name}: {word}')
        for word in re.findall(r'(?<![\w./-])[\w/-]+\.[ch]\b', text):
            if os.path.basename(word) not in files or \
                    ('/' in word and os.path.basename(word) not in OF_OTHERS and
                     not any(other.endswith('/' + word) or other == word for other in code)):
                result.add(f'{name}: {word}')
        if name.endswith('.md'):
            result |= {f'{name}: {word}()' for word in re.findall(r'`(?:evpub\.)?(\w+)\(\)`', text)
                       if word not in known}
        # "find_late() in trigger.c", also over the end of a comment's line
        for word, where in re.findall(r'\b(\w+)\(\)(?:\s|\*)+in\s+(?:\*\s+)?([\w/]+\.[ch])\b', text):
            if os.path.basename(where) not in OF_OTHERS and \
                    not any(re.search(rf'^{word}\(', COMMENT.sub('', other), re.M)
                            for path, other in code.items() if path.endswith('/' + where)):
                result.add(f'{name}: {word}() in {where}')
    return result


class Tap:
    count = 0
    failed = 0

    def result(self, problems, name):
        self.count += 1
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}")
        for problem in problems:
            print(f'# {problem}')
        if problems:
            self.failed = 1

    def rule(self, found, known, name):
        self.result([f'new: {one}' for one in sorted(found - known)] +
                    [f'gone, so take it off the list in {os.path.basename(__file__)}: {one}'
                     for one in sorted(known - found)], name)


def plant(tree, faults):
    """Appends to files of src; a file that is not there begins to be."""
    for name, text in faults.items():
        path = os.path.join(tree, 'src', name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'a', encoding='utf-8') as file:
            file.write(text)


def planted(root, tap, names):
    """Each rule finds a fault that is planted in a copy."""
    function = 'void\nplanted(void)\n{\n' + '\t;\n' * (MAX_FUNCTION + 1) + '}\n'
    trials = (
        ('a circle of two files', circles, 'capture/fixed capture/intern',
         {'capture/fixed.h': '#include "capture/intern.h"\n',
          'capture/intern.c': '#include "fixed.h"\n'}),
        ('a circle with the loader', circles, 'capture/trigger evpub', {
            'evpub.h': '', 'evpub.c': '#include "capture/trigger.h"\n',
            'capture/trigger.h': '#include "evpub.h"\n'}),
        ('a circle over three rooms', circles, 'admin/a capture/b reader/c', {
            'admin/a.h': '#include "capture/b.h"\n', 'capture/b.h': '#include "reader/c.h"\n',
            'reader/c.h': '', 'reader/c.c': '#include "admin/a.h"\n'}),
        ('a room above', against_the_way, 'capture/key.c includes admin/result.h',
         {'capture/key.c': '#include "admin/result.h"\n'}),
        ('a room beside', against_the_way, 'reader/gate.c includes capture/key.h',
         {'reader/gate.c': '#include "capture/key.h"\n'}),
        ('what puts the parts together', against_the_way, 'names.h includes parameters.h',
         {'names.h': '#include "parameters.h"\n'}),
        ('a room that nobody knows', against_the_way, 'attic/a.c includes names.h',
         {'attic/a.c': '#include "names.h"\n'}),
        ('a file of src in the relay', against_the_way, 'relay/main.c includes settings.h',
         {'relay/main.c': '#include "settings.h"\n'}),
        ('the relay in a room', against_the_way, 'sender/cursor.c includes relay/record.h',
         {'sender/cursor.c': '#include "relay/record.h"\n'}),
        ('librdkafka in a room', foreign_headers, 'sender/cursor.c includes librdkafka/rdkafka.h',
         {'sender/cursor.c': '#include <librdkafka/rdkafka.h>\n'}),
        ('PostgreSQL in the relay', foreign_headers, 'relay/main.c includes postgres_fe.h',
         {'relay/main.c': '#include "postgres_fe.h"\n'}),
        ('PostgreSQL in a file of both', foreign_headers, 'clock.h includes utils/timestamp.h',
         {'clock.h': '#include "utils/timestamp.h"\n'}),
        ('a version', versions, 'capture/key.c',
         {'capture/key.c': '#if PG_VERSION_NUM >= 170000\n#endif\n'}),
        ('a file without a head', heads, 'capture/z.h: head', {'capture/z.h': 'int z;\n'}),
        ('a name that is used twice', same_names, 'capture/key.c and event/key.c',
         {'event/key.c': '\n'}),
        ('a header without a guard', heads, 'capture/z.h: guard',
         {'capture/z.h': '/*\n * z.h\n *\t\tSomething.\n */\n'}),
        ('a long function', long_ones, 'capture/key.c: planted(void)', {'capture/key.c': function}),
        ('a long file', long_ones, f'capture/z.c: more than {MAX_FILE} lines',
         {'capture/z.c': '\n' * (MAX_FILE + 1)}),
        ('a file that is gone', stale_names, 'src/capture/key.c: gone.c',
         {'capture/key.c': '/* as in gone.c */\n'}),
        ('a file in another room', stale_names, 'src/capture/key.c: reader/key.h',
         {'capture/key.c': '/* see reader/key.h */\n'}),
        ('a function that is gone', stale_names, 'src/capture/key.c: evpub_gone',
         {'capture/key.c': '/* by evpub_gone() */\n'}),
        ('a function that is gone, in a document', stale_names, 'docs/sql.md: vanish_all()',
         {'../docs/sql.md': '`vanish_all()` does it.\n'}),
        ('a function that has moved', stale_names, 'src/capture/key.c: find_late() in key.c',
         {'capture/key.c': '/* find_late() in\n * key.c knows */\n'}),
        ('an SQLSTATE', lambda source: undocumented_states(source, names),
         '08P01 is raised and not in docs/sql.md',
         {'capture/key.c': 'errcode(ERRCODE_PROTOCOL_VIOLATION)\n'}),
    )
    for name, rule, expected, faults in trials:
        with tempfile.TemporaryDirectory() as tree:
            for part in ('src', 'sql', 'docs'):
                shutil.copytree(os.path.join(root, part), os.path.join(tree, part),
                                ignore=shutil.ignore_patterns('*.o'))
            if expected in rule(Source(tree)):
                tap.result(['is there before it is planted'], f'planted: {name}')
                continue
            plant(tree, faults)
            found = rule(Source(tree))
            tap.result([] if expected in found else [f'not found: {expected}', *sorted(found)],
                       f'planted: {name}')


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(HERE))
    source = Source(root)
    tap = Tap()
    names = sqlstates()
    tap.result([] if len(source.text) > 100 else ['only ' + ' '.join(source.text)],
               'the source has been read')
    tap.rule(circles(source), KNOWN_CIRCLES, 'modules do not include each other in a circle')
    tap.rule(against_the_way(source), KNOWN_AGAINST_THE_WAY, 'rooms go one way')
    tap.rule(foreign_headers(source), set(),
             'librdkafka is in the relay alone, PostgreSQL nowhere in it')
    tap.rule(versions(source), set(), 'versions are asked for in one place')
    tap.rule(heads(source), set(), 'files say what they are, headers have a guard')
    tap.rule(same_names(source), set(), 'no two files have the same name')
    tap.rule(long_ones(source), set(), 'files and functions are not too long')
    tap.rule(stale_names(source), set(), 'comments and docs name what is there')
    tap.rule(undocumented_states(source, names), set(),
             'SQLSTATEs that are raised are documented, and back')
    planted(root, tap, names)
    print(f'1..{tap.count}')
    return tap.failed


sys.exit(main())
