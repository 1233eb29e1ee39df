"""Compares events with the contract that evpub.asyncapi() and evpub.json_schema() give.

    contract.py check DIRECTORY             with Debian's jsonschema
    contract.py models DIRECTORY            with what datamodel-code-generator has made
    contract.py events DIRECTORY...         events alone, of one document after the other

DIRECTORY has asyncapi.json, schemas.json ({type: schema}) and records, lines as kcat -J
prints them.  "check" writes what the generators need: named.json, {name: schema}, each
schema as schemas/<name>.json, and payloads.json.  Both print one line that counts,
and then what is wrong.  "events" takes many events of few tables in little time: an event
is compared with the messages of its type, and not with all of its topic.
"""
import datetime
import json
import os
import re
import sys
import uuid

DIRECTORY = sys.argv[2]
problems = []


def wrong(*what):
    problems.append(' '.join(str(part) for part in what))


def load(name):
    with open(os.path.join(DIRECTORY, name), encoding='utf-8') as file:
        return json.load(file)


def save(name, value):
    path = os.path.join(DIRECTORY, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(value, file)


def records():
    with open(os.path.join(DIRECTORY, 'records'), encoding='utf-8') as file:
        for line in file:
            record = json.loads(line)
            headers = record.get('headers') or []
            record['headers'] = dict(zip(headers[::2], headers[1::2]))
            if len(record['headers']) * 2 != len(headers):
                wrong('a header is there twice:', line)
            yield record


def identifier(name):
    return 'T' + re.sub('[^A-Za-z0-9]', '_', name)


# ---- JSON Schema ----

def validator(schema):
    import jsonschema
    checker = jsonschema.FormatChecker(formats=())

    @checker.checks('date-time')
    def date_time(text):
        # RFC 3339; its own parser takes no more, but for the year 0
        return not isinstance(text, str) or bool(
            re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)', text, re.A) and
            datetime.datetime.fromisoformat(re.sub(r'\.\d+|Z$', '', text)))

    @checker.checks('date', raises=ValueError)
    def date(text):
        return not isinstance(text, str) or bool(
            re.fullmatch(r'\d{4}-\d\d-\d\d', text, re.A) and datetime.date.fromisoformat(text))

    @checker.checks('uuid', raises=ValueError)
    def is_uuid(text):
        return not isinstance(text, str) or str(uuid.UUID(text)) == text

    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def closed(schema):
    """The schema, with no members allowed but those that it names."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get('properties'), dict) and 'required' in schema:
        result['additionalProperties'] = False
    return result


def branches(schema):
    return [leaf for part in schema['anyOf'] for leaf in branches(part)] if 'anyOf' in schema else [schema]


def types(schema):
    found = schema.get('type', [])
    return found if isinstance(found, list) else [found]


FREE = {'const', 'enum', 'pattern', 'format', 'maxLength'}


def mutations(schema, value, put, path):
    """(path, mutant) of a value that is valid; put(x) is the whole with x in its place."""
    leaves = branches(schema)
    if any(not leaf.keys() - {'description', 'title'} for leaf in leaves):
        return          # anything goes
    if not any('null' in types(leaf) for leaf in leaves):
        yield path + ': null', put(None)
    if not any('object' in types(leaf) and not leaf.get('required') for leaf in leaves):
        yield path + ': an object', put({'wrong': True})
    if not any('boolean' in types(leaf) and 'const' not in leaf for leaf in leaves):
        yield path + ': a boolean', put(False)
    if not any('string' in types(leaf) and not leaf.keys() & FREE for leaf in leaves):
        yield path + ': a string', put('none of these, and much too long')
    if any('integer' in types(leaf) for leaf in leaves):
        yield path + ': a fraction', put(1.5)
    if isinstance(value, dict):
        for leaf in leaves:
            if 'object' not in types(leaf):
                continue
            for name in leaf.get('required', []):
                yield f'{path}.{name}: missing', put({k: v for k, v in value.items() if k != name})
            for name, part in leaf.get('properties', {}).items():
                if name in value:
                    yield from mutations(part, value[name], lambda x, name=name: put({**value, name: x}),
                                         f'{path}.{name}')
    if isinstance(value, list) and value and not isinstance(value[0], list):
        for leaf in leaves:
            if 'items' in leaf:
                yield from mutations(leaf['items'], value[0], lambda x: put([x] + value[1:]), path + '[0]')


# ---- CloudEvents ----

def check_attributes(attributes, where):
    """CloudEvents 1.0, "Context Attributes"."""
    for name in ('id', 'source', 'specversion', 'type'):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            wrong(where, f'attribute {name} is required')
    if attributes.get('specversion') != '1.0':
        wrong(where, 'specversion')
    if not re.fullmatch(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", attributes.get('source', '')):
        wrong(where, 'source is no URI-reference')
    for name, value in attributes.items():
        if not re.fullmatch('[a-z0-9]+', name) or (len(name) > 20):
            wrong(where, f'name of attribute {name}')
        if not isinstance(value, str) or value == '' or re.search(r'[\x00-\x1f\x7f-\x9f]', value):
            wrong(where, f'value of attribute {name}')
    if 'time' in attributes and not re.fullmatch(
            r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)', attributes['time']):
        wrong(where, 'time is not of RFC 3339')


def check_cloudevent(record, where):
    """The Kafka protocol binding 1.0.2, and the JSON format; what mode it is, or None."""
    content = record['headers'].get('content-type')
    binary = {name[3:]: value for name, value in record['headers'].items() if name.startswith('ce_')}
    if content is not None and content.startswith('application/cloudevents'):
        if not re.fullmatch(r'application/cloudevents\+json(; *charset=utf-8)?', content):
            wrong(where, 'content-type', content)
        event = json.loads(record['payload'])
        if 'data_base64' in event and 'data' in event:
            wrong(where, 'both data and data_base64')
        event.pop('data')
        check_attributes(event, where)
        if binary:
            wrong(where, 'attributes in headers of structured mode')
        return 'structured'
    if binary:
        if 'datacontenttype' in binary:
            wrong(where, 'datacontenttype is content-type in binary mode')
        if content is None:
            wrong(where, 'no content-type')
        if content == 'application/json':
            json.loads(record['payload'])
        check_attributes(binary, where)
        return 'binary'
    return None


# ---- events and the document ----

def address_pattern(address):
    return ''.join('(?:[a-zA-Z0-9._-]+)' if part.startswith('{') else re.escape(part)
                   for part in re.findall(r'\{[a-z]+\}|[^{}]+', address))


def messages_in(document, record):
    """The names of the messages that this record may be, by topic, type and headers."""
    channels = [channel for channel in document['channels'].values()
                if re.fullmatch(address_pattern(channel['address']), record['topic'])]
    if len(channels) != 1:
        wrong(record['topic'], f'is {len(channels)} channels')
        return []
    return [ref['$ref'].rsplit('/', 1)[1] for ref in channels[0]['messages'].values()]


def check():
    document, schemas = load('asyncapi.json'), load('schemas.json')
    messages = document['components']['messages']
    payloads = document['components']['schemas']
    checkers = {name: (validator(closed(payloads[name])), validator(payloads[name])) for name in messages}
    heads = {name: validator(closed(messages[name]['headers'])) for name in messages}
    keys = {name: validator(messages[name]['bindings']['kafka']['key']) for name in messages}
    for name, message in messages.items():
        schema = dict(schemas[message['name']])
        validator(schema)
        if schema.pop('$schema') != 'https://json-schema.org/draft/2020-12/schema':
            wrong(name, '$schema')
        if schema != payloads[name] and payloads[name] not in schema.get('anyOf', []):
            wrong(name, 'json_schema() says something else than asyncapi()')
    seen, mutants, modes, count, out = {}, 0, set(), 0, []
    for record in records():
        count += 1
        value = None if record['payload'] is None else json.loads(record['payload'])
        where = f"{record['topic']}/{record['partition']}/{record['offset']}:"
        found = []
        for name in messages_in(document, record):
            if (heads[name].is_valid(record['headers']) and keys[name].is_valid(record['key']) and
                    checkers[name][0].is_valid(value)):
                found.append(name)
        if len(found) != 1:
            wrong(where, f'is {found or "none"} of the messages:', record['key'], record['headers'], record['payload'])
            for name in messages_in(document, record) if not found else ():
                if isinstance(value, dict) and value.get('type', name) == messages[name]['name']:
                    for check_of, what in ((heads, record['headers']), (keys, record['key'])):
                        for error in check_of[name].iter_errors(what):
                            wrong('   ', name, error.message)
                    for error in checkers[name][0].iter_errors(value):
                        wrong('   ', name, list(error.path), error.message, [e.message for e in error.context])
            continue
        name = found[0]
        said = record['headers'].get('type') or record['headers'].get('ce_type') or (
            value.get('type') if isinstance(value, dict) else None)
        if said is not None and said != messages[name]['name'] and '{' not in messages[name]['name']:
            wrong(where, f'is "{said}", and matches {name}')
        first = name not in seen
        seen.setdefault(name, set()).update(members(value))
        modes.add(check_cloudevent(record, where))
        if value is not None:
            out.append([identifier(messages[name]['name']), record['payload']])
        if first or 'everything' in name:
            for path, mutant in mutations(payloads[name], value, lambda x: x, name):
                mutants += 1
                if checkers[name][1].is_valid(mutant):
                    wrong(where, 'valid, and should not be:', path)
    for name in messages.keys() - seen.keys():
        wrong('no event of', name)
    for name in seen:
        for member in members_of(payloads[name]) - seen[name]:
            wrong('no event of', name, 'has', member)
    if modes != {None, 'structured', 'binary'}:
        wrong('modes of CloudEvents are', modes)
    save('payloads.json', out)
    named = {identifier(name): schema for name, schema in schemas.items()}
    save('named.json', named)
    for name, schema in named.items():
        save(f'schemas/{name}.json', schema)
    print(f'{count} events of {len(seen)} messages, {mutants} wrong ones')


def members(value):
    """Names of members, those of data in a CloudEvent as well."""
    if not isinstance(value, dict):
        return set()
    return set(value) | (set(value['data']) if isinstance(value.get('data'), dict) else set())


def members_of(schema):
    found = schema.get('properties', {})
    return set(found) | set(found.get('data', {}).get('properties', {}))


# ---- many events ----

def said_type(record, value):
    """The type of an event, in whatever envelope; None: a tombstone."""
    return record['headers'].get('ce_type') or (value['type'] if value is not None else None)


def events_of_document(seen):
    """Compares the records with the document of DIRECTORY; how many, and wrong ones."""
    document = load('asyncapi.json')
    messages = {name: (message, validator(closed(document['components']['schemas'][name])),
                       validator(closed(message['headers'])), validator(message['bindings']['kafka']['key']))
                for name, message in document['components']['messages'].items()}
    candidates, keys, count, mutants = {}, {}, 0, 0
    for record in records():
        value = None if record['payload'] is None else json.loads(record['payload'])
        kind = said_type(record, value)
        if kind == 'noise':
            continue        # of evpub.publish(): not in the document
        count += 1
        place = record['topic'], kind
        if place not in candidates:
            candidates[place] = [name for name in messages_in(document, record)
                                 if messages[name][0]['name'] == kind or
                                 (kind is None and messages[name][0]['summary'].endswith('has no value.'))]
        for name in candidates[place]:
            message, payload, headers, key = messages[name]
            known = name, record['key']
            if known not in keys:
                keys[known] = key.is_valid(record['key'])
            if keys[known] and headers.is_valid(record['headers']) and payload.is_valid(value):
                break
        else:
            wrong(f"{record['topic']}/{record['partition']}/{record['offset']}: is none of",
                  candidates[place], record['key'], record['headers'], record['payload'])
            for name in candidates[place]:
                for check_of, what in zip(messages[name][1:], (value, record['headers'], record['key'])):
                    for error in check_of.iter_errors(what):
                        wrong('   ', name, list(error.path), error.message, [e.message for e in error.context])
            continue
        if name not in seen:
            seen.add(name)
            # "check" has more of them
            for path, mutant in mutations(document['components']['schemas'][name], value, lambda x: x, name):
                mutants += 1
                if payload.is_valid(mutant):
                    wrong('valid, and should not be:', path)
                if mutants > 100:
                    break
    return count, mutants


def events():
    global DIRECTORY
    seen, count, mutants = set(), 0, 0
    for DIRECTORY in sys.argv[2:]:
        found = events_of_document(seen)
        count += found[0]
        mutants += found[1]
    print(f'{count} events of {len(seen)} messages, {mutants} wrong ones')


# ---- generated models ----

def models():
    """The same of Pydantic models; what is in schemas.json has been generated."""
    import importlib
    sys.path.insert(0, DIRECTORY)
    count = 0
    for name, payload in load('payloads.json'):
        module = importlib.import_module(f'models.{name}')
        try:
            getattr(module, 'Event').model_validate_json(payload)
            count += 1
        except Exception as error:
            wrong(name, payload, error)
        if payload.startswith('{'):
            try:
                getattr(module, 'Event').model_validate_json('{"wrong": 1}')
                wrong(name, 'takes what is no event')
            except ValueError:
                pass
    print(f'{count} events read')


{'check': check, 'models': models, 'events': events}[sys.argv[1]]()
for problem in problems[:50]:
    print(problem)
sys.exit(len(problems) > 0)
