// Publishes as docs/sql.md shows it; arguments: connection string, directory of the driver.
const { createRequire } = require('module');
const { Client } = createRequire(process.argv[3] + '/')('pg');

async function main() {
	const client = new Client({ connectionString: process.argv[2] });
	const month = { month: '2026-11' };
	await client.connect();
	await client.query('SELECT evpub.publish($1, $2, $3, $4)', ['payroll.closed', 'acme', month, { sum: 1234.75 }]);
	// a number is sent as text
	await client.query('SELECT evpub.publish($1, $2, $3, $4)', ['payroll.closed', 42, month, { sum: 1234.75 }]);
	await client.query('SELECT evpub.publish($1, $2, data => $3)', ['payroll.closed', 'acme', null]);
	await client.query('SELECT evpub.publish_raw($1, $2, $3)', ['raw', 'acme', { theme: 'dark' }]);
	await client.end();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
