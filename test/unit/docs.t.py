#!/usr/bin/env python3
"""README and docs: links lead somewhere, files that are named are there, and the
README keeps to what fits: seven limits, each of them one line with a link.
docs/security.md names each property that the Kafka settings may hold, and each that
is refused with a reason of its own; and both lists hold nothing else.

The tree whose documents are read is the one above, or that of an argument.
"""
import glob
import os
import re
import sys

TREE = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                       os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
LIMITS = 7

pages = {os.path.relpath(path, TREE): open(path, encoding='utf-8').read()
         for pattern in ('*.md', 'docs/*.md', 'examples/*/*.md')
         for path in glob.glob(os.path.join(TREE, pattern))}
names = {os.path.basename(path)
         for pattern in ('src', 'test')
         for path in glob.glob(os.path.join(TREE, pattern, '**'), recursive=True)}
count = 0


def check(wrong, what):
    """One line of TAP; "wrong" is what does not hold."""
    global count
    count += 1
    print(f"{'not ' if wrong else ''}ok {count} - {what}")
    for line in wrong:
        print(f'# {line}')


def without_code(text):
    return re.sub(r'^```.*?^```$', '', text, flags=re.S | re.M)


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r'^#+ (.*)$', without_code(text), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower().replace('`', '')).strip().replace(' ', '-')
            for heading in headings}


def bad_links(page, text):
    for link in re.findall(r'\]\(([^)]+)\)', re.sub(r'`[^`\n]*`', '', without_code(text))):
        if re.match(r'\w+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(os.path.join(TREE, target)):
            yield f'{link}: no such file'
        elif anchor and anchor not in anchors(pages.get(target, '')):
            yield f'{link}: no such heading'


def bad_names(text):
    """Sources and tests in backquotes, with their path or without."""
    for name in sorted(set(re.findall(r'`([\w/]+(?:\.t)?\.(?:[chp][lmy]?|spec|sql))`', text))):
        if '/' in name:
            if not any(os.path.exists(os.path.join(TREE, top, name)) for top in ('', 'src', 'test')):
                yield f'{name}: no such file'
        elif name.endswith(('.c', '.h')) and name not in names:
            yield f'{name}: no such file'


check([] if len(pages) >= 9 else sorted(pages), 'there are documents')
for page, text in sorted(pages.items()):
    check(list(bad_links(page, text)), f'{page}: links')
    check(list(bad_names(text)), f'{page}: files that it names')

limits = re.search(r'^## Limits\n(.*?)^## ', pages['README.md'], re.S | re.M).group(1).strip().split('\n')
check([] if 1 <= len(limits) <= LIMITS else limits, f'README.md: at most {LIMITS} limits')
check([line for line in limits if not re.match(r'- .*\]\(docs/.*\)', line)],
      'README.md: each limit is one line with a link')


def source(name):
    with open(os.path.join(TREE, 'src', 'relay', name), encoding='utf-8') as file:
        return file.read()


def array(text, name):
    """The text of an array of C between its braces."""
    return re.search(rf'\b{name}\[\] = {{\n(.*?)^}};', text, re.S | re.M).group(1)


def rows(heading):
    """Rows of the tables below a heading of docs/security.md, as lists of cells."""
    section = re.search(rf'^#+ {heading}\n(.*?)(?=^#)', pages['docs/security.md'], re.S | re.M).group(1)
    return [[cell.strip() for cell in line.strip('|').split('|')]
            for line in section.split('\n') if line.startswith('| `')]


def differences(documented, real):
    for name in sorted(documented.keys() - real.keys()):
        yield f'{name} is only in docs/security.md'
    for name in sorted(real.keys() - documented.keys()):
        yield f'{name} is missing in docs/security.md'
    for name in sorted(documented.keys() & real.keys()):
        if documented[name] != real[name]:
            yield f'{name}: docs/security.md says "{documented[name]}", it is "{real[name]}"'


KINDS = {'*': 'secret', '/': 'file', '': ''}
properties = source('properties.c')
allowed = {name: KINDS[kind] for kind, name in
           re.findall(r'"([*/]?)([^"]+)"', array(properties, 'allowed'))}
documented = {name: next((kind for kind in KINDS.values() if kind and cells[1].startswith(kind)), '')
              for cells in rows('What the file may set') for name in re.findall(r'`([^`]+)`', cells[0])}
check([] if len(allowed) > 50 else sorted(allowed), 'properties.c: the list is found')
check(list(differences(documented, allowed)), 'docs/security.md: properties that are allowed')

refused = dict.fromkeys(re.findall(r'{"([^"]+)",', array(properties, 'elsewhere') +
                                   array(source('config.c'), 'owned')), '')
# dangerous ones that only stand for their kind
EXAMPLES = {'plugin.library.paths', 'sasl.kerberos.kinit.cmd', 'ssl.engine.location'}
documented = dict.fromkeys((name for cells in rows('What is refused')
                            for name in re.findall(r'`([^`]+)`', cells[0])), '')
check(sorted(EXAMPLES - documented.keys()), 'docs/security.md: properties that run code')
check(sorted(EXAMPLES & allowed.keys()), 'properties.c: none of them is allowed')
check(list(differences({name: '' for name in documented if name not in EXAMPLES}, refused)),
      'docs/security.md: properties that are refused')
print(f'1..{count}')
