#!/usr/bin/env python3
"""What is said of the package: META.json keeps to the PGXN meta spec 1.0.0, all files
name one version, each file that the packaging names is there, and the archive of
"make dist" has the files that are tracked.

Called with the path of a tree, the script looks at that one.
"""
import glob
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

TREE = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                       os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))

PHASES = {'configure', 'build', 'test', 'runtime', 'develop'}
RELATIONS = {'requires', 'recommends', 'suggests', 'conflicts'}
LICENSES = {
    'agpl_3', 'apache_1_1', 'apache_2_0', 'artistic_1', 'artistic_2', 'bsd', 'freebsd',
    'gfdl_1_2', 'gfdl_1_3', 'gpl_1', 'gpl_2', 'gpl_3', 'lgpl_2_1', 'lgpl_3_0', 'mit',
    'mozilla_1_0', 'mozilla_1_1', 'openssl', 'perl_5', 'postgresql', 'qpl_1_0', 'ssleay',
    'sun', 'zlib', 'open_source', 'restricted', 'unrestricted', 'unknown'}
SEMVER = r'(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-?[A-Za-z][0-9A-Za-z-]*)?'
KEYS = {'name', 'version', 'abstract', 'maintainer', 'license', 'provides', 'meta-spec',
        'description', 'generated_by', 'tags', 'no_index', 'prereqs', 'release_status',
        'resources'}


def read(path):
    with open(os.path.join(TREE, path), encoding='utf-8') as file:
        return file.read()


def is_text(value):
    return isinstance(value, str) and value != ''


def is_version(value):
    return isinstance(value, str) and re.fullmatch(SEMVER, value)


def is_term(value):
    return isinstance(value, str) and re.fullmatch(r'[^\s\x00-\x1f\x7f/\\]{2,}', value)


def is_url(value):
    return isinstance(value, str) and re.fullmatch(r'[a-z][a-z+.-]*://[^/?#\s]+\S*', value)


def texts(value):
    return value if isinstance(value, list) else [value]


def bad_license(value):
    """A known word, a list of such words, or a map from names to URLs."""
    if isinstance(value, dict):
        return [f'license: {url}' for url in value.values() if not is_url(url)]
    return [f'license: {word}' for word in texts(value) if word not in LICENSES]


def bad_provides(provides):
    if not isinstance(provides, dict) or not provides:
        yield 'provides: at least one extension'
        return
    for name, extension in provides.items():
        if not is_term(name):
            yield f'provides: {name}'
        for key in ('file', 'version'):
            if key not in extension:
                yield f'provides.{name}: no {key}'
        for key, value in extension.items():
            ok = {'file': is_text, 'docfile': is_text, 'abstract': is_text,
                  'version': is_version}.get(key, lambda _: False)
            if not ok(value) and not re.match('[xX]_', key):
                yield f'provides.{name}.{key}: {value}'
            if key in ('file', 'docfile') and not os.path.exists(os.path.join(TREE, str(value))):
                yield f'provides.{name}.{key}: {value} is not there'


def bad_prereqs(prereqs):
    for phase, relations in prereqs.items():
        if phase not in PHASES and not re.match('[xX]_', phase):
            yield f'prereqs: {phase}'
        for relation, wants in relations.items():
            if relation not in RELATIONS and not re.match('[xX]_', relation):
                yield f'prereqs.{phase}: {relation}'
            for name, wanted in wants.items():
                ranges = [re.sub(r'^(<=|>=|==|!=|<|>)\s*', '', part.strip())
                          for part in str(wanted).split(',')]
                if not is_term(name) or not all(part == '0' or is_version(part)
                                                for part in ranges):
                    yield f'prereqs.{phase}.{relation}.{name}: {wanted}'


def bad_meta(meta):
    """What breaks the PGXN meta spec 1.0.0."""
    wrong = []
    for key in ('name', 'version', 'abstract', 'maintainer', 'license', 'provides', 'meta-spec'):
        if key not in meta:
            wrong.append(f'no {key}')
    wrong += [f'unknown key {key}' for key in meta
              if key not in KEYS and not re.match('[xX]_', key)]
    if not is_term(meta.get('name')):
        wrong.append('name')
    if not is_version(meta.get('version')):
        wrong.append('version')
    for key in ('abstract', 'description', 'generated_by'):
        if key in meta and not is_text(meta[key]):
            wrong.append(key)
    if not all(map(is_text, texts(meta.get('maintainer')))):
        wrong.append('maintainer')
    wrong += bad_license(meta.get('license'))
    wrong += bad_provides(meta.get('provides'))
    wrong += bad_prereqs(meta.get('prereqs', {}))
    spec = meta.get('meta-spec')
    if not isinstance(spec, dict) or spec.get('version') != '1.0.0' or \
            not is_url(spec.get('url', 'http://pgxn.org/')):
        wrong.append('meta-spec')
    wrong += [f'tags: {tag}' for tag in texts(meta.get('tags', []))
              if not isinstance(tag, str) or not re.fullmatch(r'[^\x00-\x1f\x7f/\\]{1,256}', tag)]
    if meta.get('release_status', 'stable') not in ('stable', 'testing', 'unstable'):
        wrong.append('release_status')
    return wrong


def bad_versions():
    """One version of the release, one of the extension, which is its beginning."""
    meta = json.loads(read('META.json'))
    release = meta['version']
    extension = re.sub(r'\.\d+$', '', release)
    places = {
        'META.json, provides': (meta['provides']['evpub']['version'], release),
        'debian/changelog': (re.match(r'evpub \((.*)-[^-]+\) ', read('debian/changelog'))[1], release),
        'evpub.control': (re.search(r"^default_version = '(.*)'$", read('evpub.control'), re.M)[1],
                          extension),
        'CHANGELOG.md': (re.search(r'^## (\S+)', read('CHANGELOG.md'), re.M)[1], extension),
        'src/relay/main.c': (re.search(r'#define RELAY_VERSION "(.*)"', read('src/relay/main.c'))[1],
                             extension),
        'docs/evpub-relay.1': (re.search(r'^\.TH .*"evpub (\S+)"', read('docs/evpub-relay.1'), re.M)[1],
                               extension),
    }
    wrong = [f'{place}: {is_}, not {wanted}' for place, (is_, wanted) in places.items() if is_ != wanted]
    if not os.path.exists(os.path.join(TREE, f'sql/evpub--{extension}.sql')):
        wrong.append(f'no sql/evpub--{extension}.sql')
    return wrong


def bad_control():
    """debian/control is what pg_buildext makes of control.in for Debian 12."""
    made = re.sub('PGVERSION', '15', read('debian/control.in'))
    return [] if made == read('debian/control') else ['debian/control is not made from control.in']


def named_files():
    """Files that are named by what installs or copies them."""
    for words in re.findall(r'dh_install(?:docs|examples) --all (.*)', read('debian/rules')):
        yield from (word for word in words.split() if not word.startswith('-'))
    for word in re.findall(r'^Tests: (.*)$', read('debian/tests/control'), re.M):
        yield 'debian/tests/' + word
    for words in re.findall(r'^COPY (?!--)(.*) \S+$', read('Dockerfile'), re.M):
        yield from words.split()
    yield from re.findall(r'- \./(\S+?):', read('compose.yaml'))
    yield from re.findall(r'^!([^*\n]+)$', read('.dockerignore'), re.M)


def missing_files():
    return [name for name in named_files() if not glob.glob(os.path.join(TREE, name))]


def not_copied():
    """What the Dockerfile copies and .dockerignore keeps from it."""
    let = set(re.findall(r'^!([^*\n]+)$', read('.dockerignore'), re.M))
    return [word for words in re.findall(r'^COPY (?!--)(.*) \S+$', read('Dockerfile'), re.M)
            for word in words.split() if word not in let]


def bad_archive():
    """The archive is made of a commit: the same bytes in each time zone, no file more.
    The repository is a small one with the Makefile of the tree."""
    with tempfile.TemporaryDirectory() as repository:
        for name in ('Makefile', 'META.json', '.gitignore', '.gitattributes'):
            if os.path.exists(os.path.join(TREE, name)):
                shutil.copy(os.path.join(TREE, name), repository)
        shutil.copytree(os.path.join(TREE, 'debian'), os.path.join(repository, 'debian'))
        git = ['git', '-c', 'user.name=test', '-c', 'user.email=test@localhost',
               '-C', repository]
        subprocess.run(git + ['init', '-q'], check=True)
        subprocess.run(git + ['add', '-A'], check=True)
        subprocess.run(git + ['commit', '-q', '-m', 'test'], check=True)
        with open(os.path.join(repository, 'untracked'), 'w', encoding='utf-8'):
            pass
        bytes_ = set()
        for zone in ('UTC', 'Asia/Seoul'):
            subprocess.run(['make', '-s', 'dist'], cwd=repository, check=True,
                           stdout=subprocess.DEVNULL,
                           env=dict(os.environ, TZ=zone))
            made = glob.glob(os.path.join(repository, 'evpub-*.zip'))
            with open(made[0], 'rb') as file:
                bytes_.add(file.read())
            os.unlink(made[0])
        tracked = set(subprocess.run(git + ['ls-files'], check=True, stdout=subprocess.PIPE,
                                     text=True).stdout.split('\n')) - {''}
    if len(bytes_) != 1:
        return ['the bytes depend on the time zone']
    version = json.loads(read('META.json'))['version']
    wrong = [] if os.path.basename(made[0]) == f'evpub-{version}.zip' else [made[0]]
    with zipfile.ZipFile(io.BytesIO(bytes_.pop())) as archive:
        packed = {name for name in archive.namelist() if not name.endswith('/')}
    prefix = f'evpub-{version}/'
    return wrong + sorted({prefix + name for name in tracked} ^ packed)


def planted():
    """A validator that finds nothing proves nothing: each of these is wrong."""
    good = json.loads(read('META.json'))
    faults = {
        'no license': lambda meta: meta.pop('license'),
        'a license of one\'s own': lambda meta: meta.update(license='evpub'),
        'a version of two numbers': lambda meta: meta.update(version='1.0'),
        'a name with a slash': lambda meta: meta.update(name='ev/pub'),
        'an unknown key': lambda meta: meta.update(homepage='http://localhost/'),
        'an unknown phase': lambda meta: meta['prereqs'].update(runs={}),
        'a wanted version of two numbers':
            lambda meta: meta['prereqs']['runtime']['requires'].update(PostgreSQL='15.0'),
        'an extension without a file': lambda meta: meta['provides']['evpub'].pop('file'),
        'a file that is not there': lambda meta: meta['provides']['evpub'].update(file='no.sql'),
        'another spec': lambda meta: meta['meta-spec'].update(version='2.0.0'),
        'an empty tag': lambda meta: meta['tags'].append(''),
    }
    for name, plant in faults.items():
        meta = json.loads(json.dumps(good))
        plant(meta)
        if not bad_meta(meta):
            yield f'not found: {name}'


def main():
    tests = [
        ('META.json keeps to the PGXN meta spec', lambda: bad_meta(json.loads(read('META.json')))),
        ('planted faults in META.json are found', lambda: list(planted())),
        ('all files name one version', bad_versions),
        ('debian/control is made from control.in', bad_control),
        ('each file that the packaging names is there', missing_files),
        ('the Dockerfile copies what .dockerignore lets through', not_copied),
        ('the archive of make dist has the tracked files, and is the same everywhere', bad_archive),
    ]
    print(f'1..{len(tests)}')
    for number, (name, test) in enumerate(tests, 1):
        wrong = test()
        print(f"{'not ' if wrong else ''}ok {number} - {name}")
        for line in wrong:
            print(f'# {line}')


if __name__ == '__main__':
    sys.exit(main())
