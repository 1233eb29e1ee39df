// TypeScript of JSON Schemas, and the events as values of these types, for tsc:
//
//	generate.mjs DIRECTORY TOOLS
//
// DIRECTORY has named.json, {name: schema}, and payloads.json, [[name, value], ...].
// With --asyncapi, DIRECTORY/asyncapi.json is read by the AsyncAPI parser instead.
import { createRequire } from 'module';
import { readFileSync, writeFileSync } from 'fs';

const asyncapi = process.argv[2] === '--asyncapi';
const [directory, tools] = process.argv.slice(asyncapi ? 3 : 2);
const require = createRequire(`${tools}/package.json`);
const text = (name) => readFileSync(`${directory}/${name}`, 'utf8');

if (asyncapi) {
	const { Parser } = require('@asyncapi/parser');
	const { document, diagnostics } = await new Parser().parse(text('asyncapi.json'));
	// 0 is an error, 1 a warning
	for (const d of diagnostics.filter((d) => d.severity < 2))
		console.log(d.severity, d.code, d.message, d.path.join('.'));
	if (document)
		console.log(`${document.allChannels().all().length} channels, ${document.allMessages().all().length} messages`);
} else {
	const { compile } = require('json-schema-to-typescript');
	const schemas = JSON.parse(text('named.json'));
	let source = '';
	for (const [name, schema] of Object.entries(schemas)) {
		// a namespace each, since the types of members have names as well
		delete schema.title;
		source += `export namespace ${name} {\n` +
			await compile(schema, 'Event', { additionalProperties: false, bannerComment: '', format: false }) + '}\n';
	}
	// the text of a value, so that all digits of numbers stay
	for (const [name, value] of JSON.parse(text('payloads.json')))
		source += `export const _${source.length}: ${name}.Event = ${value};\n`;
	source += '// @ts-expect-error\nexport const wrong: Tcode_created.Event = { id: "x", type: "code.created" };\n';
	writeFileSync(`${directory}/events.ts`, source);
}
