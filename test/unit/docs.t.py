#!/usr/bin/env python3
"""README and docs: links lead somewhere, files that are named are there, and the
README keeps to what fits: seven limits, each of them one line with a link.

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
print(f'1..{count}')
