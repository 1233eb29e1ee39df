#!/usr/bin/env python3
"""What reads bytes and texts of others, under libFuzzer and sanitizers (test/fuzz).

Each target begins with samples that it makes itself, and with the inputs in
test/fuzz/corpus that once broke it.  Then it goes on with inputs that libFuzzer
makes of these, for half a minute, or for EVPUB_FUZZ_SECONDS.  Two targets run at
a time.  EVPUB_FUZZ_TARGETS names those that are wanted.

An input that breaks a target is printed in base64: it belongs into the corpus
together with what mends it.
"""
import base64
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FUZZ = os.path.join(os.path.dirname(HERE), 'fuzz')
SECONDS = int(float(os.environ.get('EVPUB_FUZZ_SECONDS') or '30'))

# An input that takes longer, or more memory, is a fault.  On a machine that is
# overloaded a process may stand still for half a minute.
TIMEOUT = 150
MEMORY_MB = 1500

# programs, and targets that are read in a server; what each of them reads
PROGRAMS = {
    'chunk': 'chunks of events in WAL, and what is rendered of them',
    'kafkafile': 'evpub.kafka_config_file',
    'position': 'positions in the state file and in WAL',
    'relay': 'what the worker sends to the relay',
    'relayclient': 'what the relay sends to the worker',
    'statefile': 'the state file',
    'walpass': 'large WAL records',
}
IN_SERVER = {
    'filter': 'filters of captured tables',
    'options': 'options of captured tables, headers',
    'template': 'templates, names of topics',
}

# libFuzzer's inputs are not longer than the longest sample, nor than this
LENGTHS = {'walpass': 20500}
LENGTH = 4096


def environment(**more):
    return {**os.environ, 'ASAN_OPTIONS': 'quarantine_size_mb=32:detect_leaks=1', **more}


def postgres(*words):
    bindir = subprocess.run([os.environ.get('PG_CONFIG') or 'pg_config', '--bindir'],
                            check=True, capture_output=True, text=True).stdout.strip()
    return [os.path.join(bindir, words[0]), *words[1:]]


def make_cluster(work):
    subprocess.run(postgres('initdb', '--no-sync', '--auth=trust', '--encoding=UTF8',
                            '--locale=C.UTF-8', '-D', os.path.join(work, 'data')),
                   check=True, stdout=subprocess.DEVNULL, env=environment())


def run_program(name, words, directory, log, limit):
    return subprocess.run([os.path.join(FUZZ, f'{name}.bin'), *words], cwd=directory,
                          stdout=log, stderr=log, env=environment(), timeout=limit,
                          stdin=subprocess.DEVNULL, check=False).returncode


def run_in_server(name, words, directory, log, limit):
    """In a server of one process, which is thrown away."""
    data = os.path.join(directory, 'data')
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(os.path.join(os.path.dirname(directory), 'data'), data)
    literals = ', '.join(f"'{word}'" for word in (name, *words))
    commands = (f"CREATE FUNCTION evpub_fuzz(text, VARIADIC text[]) RETURNS int LANGUAGE C "
                f"AS '{FUZZ}/server.so'\n"
                f'SELECT evpub_fuzz({literals})\n')
    # of what the server itself has not given back at its end
    settings = environment(LD_PRELOAD=f'{FUZZ}/libasan.so {FUZZ}/nogettext.so')
    settings['ASAN_OPTIONS'] = 'quarantine_size_mb=32:detect_leaks=0'
    return subprocess.run(postgres('postgres', '--single', '-F', '-D', data, 'postgres'),
                          cwd=directory, stdout=log, stderr=log, env=settings, timeout=limit,
                          input=commands.encode(), check=False).returncode


def tail(path, length):
    with open(path, encoding='utf-8', errors='replace') as file:
        lines = file.read().splitlines()
    # the first thing that went wrong, or the end
    first = next((i for i, line in enumerate(lines)
                  if re.search(r'ERROR: |runtime error|does not hold|Bail out', line)), None)
    return lines[first:first + length] if first is not None else lines[-length:]


def fuzz(name, work):
    """The line of its result, and what is to be said about it."""
    what = {**PROGRAMS, **IN_SERVER}[name]
    run = run_program if name in PROGRAMS else run_in_server
    directory = os.path.join(work, name)
    path = os.path.join(directory, 'log')
    for part in ('samples', 'found'):
        os.makedirs(os.path.join(directory, part))
    inputs = ['found', 'samples']
    if os.path.isdir(os.path.join(FUZZ, 'corpus', name)):
        inputs.append(os.path.join(FUZZ, 'corpus', name))
    words = [f'-max_total_time={SECONDS}', f'-timeout={TIMEOUT}', f'-rss_limit_mb={MEMORY_MB}',
             f'-max_len={LENGTHS.get(name, LENGTH)}', '-print_final_stats=1',
             f'-artifact_prefix={directory}/',
             *(os.path.join(directory, part) for part in inputs)]
    try:
        with open(path, 'wb') as log:
            code = run(name, ['--samples', os.path.join(directory, 'samples')],
                       directory, log, 120)
            if code == 0:
                code = run(name, words, directory, log, SECONDS + 2 * TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'not ok %d - {what}', [str(error)]
    with open(path, encoding='utf-8', errors='replace') as log:
        text = log.read()
    units = re.search(r'number_of_executed_units: (\d+)', text)
    done = re.search(r'^#\d+\s+DONE\s+cov: (\d+)', text, re.M)
    broken = [found for kind in ('crash', 'leak', 'timeout', 'oom')
              for found in glob.glob(os.path.join(directory, f'{kind}-*'))]
    if code == 0 and units and done and not broken:
        return f'ok %d - {what}', [f'{name}: {units.group(1)} inputs in {SECONDS} s, '
                                   f'{done.group(1)} branches']
    said = [f'{name} ended with {code}', *tail(path, 40)]
    for found in broken:
        with open(found, 'rb') as file:
            said.append(f'{os.path.basename(found)}: {base64.b64encode(file.read()).decode()}')
    return f'not ok %d - {what}', said


def main():
    wanted = (os.environ.get('EVPUB_FUZZ_TARGETS') or '').split()
    names = [name for name in sorted({**PROGRAMS, **IN_SERVER}) if not wanted or name in wanted]
    # two of the longest do not come last
    names.sort(key=lambda name: name not in IN_SERVER)
    print(f'1..{len(names)}')
    print(f'# each for {SECONDS} s, two at a time', flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        if set(names) & set(IN_SERVER):
            make_cluster(work)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for number, (line, said) in enumerate(pool.map(lambda name: fuzz(name, work), names), 1):
                for text in said:
                    print(f'# {text}')
                print(line % number, flush=True)
                failed = failed or line.startswith('not')
    return failed


if __name__ == '__main__':
    sys.exit(main())
