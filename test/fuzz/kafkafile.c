/*
 * kafkafile.c
 *		Fuzzes reading evpub.kafka_config_file, with librdkafka's own check of values.
 *
 * The input is the file.  Whatever is in it, the relay has a configuration of it or
 * says why not; and it never says a value, since values are passwords.
 */
#include "lib/relay.h"
#include "lib/tested.h"
#include "relay/config.h"
#include "relay/explain.h"
#include "relay/relay.h"
#include "lib/not_tested.h"
#undef _exit
#undef exit
#undef free
#undef realloc
#undef fopen
#undef fclose
#undef open

#include <sys/stat.h>

#include "lib/fuzz.h"
#include "lib/relayworld.h"

#define CONFIG_FILE "kafka.conf"

/* In a value this cannot but come out of the file: no key has such a character. */
#define MARK "!S3cr3t!"

static const char *content;
static size_t content_length;

static void
farewell(const EvpubFrameFailed *failed, char *text)
{
	FUZZ_EXPECT(failed->kind == EVPUB_FAILURE_CONFIG || failed->kind == EVPUB_FAILURE_RETRY);
	FUZZ_EXPECT(text[0] != '\0');
	config_redact(text);

	/* a path is not secret, and who mends it must know it */
	if (strstr(text, "could not read file") == NULL)
		FUZZ_EXPECT(strstr(text, MARK) == NULL);
}

static void
read_settings(void)
{
	const RelaySettings settings = {
		.bootstrap_servers = " localhost:9092 , localhost:9093 ",
		.kafka_config_file = CONFIG_FILE,
		.client_id = "evpub"
	};
	Explanation explanation;
	char	   *text;
	int			count;

	relay_at_failure(farewell);
	(void) config_build(&settings);

	/* librdkafka's texts may have anything of the file in them */
	text = malloc(content_length + 1);
	if (text == NULL)
		abort();
	memcpy(text, content, content_length);
	text[content_length] = '\0';
	explain_text(text, false, &explanation);
	explain_text(text, true, &explanation);
	FUZZ_EXPECT(memchr(explanation.cause, '\0', sizeof(explanation.cause)) != NULL);
	(void) config_file_of(text);
	config_redact(text);
	free(text);
	for (const ConfigFile *files = config_files(&count); count > 0; count--, files++)
	{
		fuzz_touch(files->path, strlen(files->path));
		fuzz_touch(files->mark, strlen(files->mark));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int			fd = open(CONFIG_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t) size || close(fd) != 0)
		abort();
	content = (const char *) data;
	content_length = size;
	(void) world_run(read_settings, (const uint8_t *) "", 0);
	return 0;
}

static void
sample(const char *text)
{
	fuzz_sample(text, strlen(text));
}

static void
fuzz_samples(void)
{
	static const char *const samples[] = {
		"# a comment\n\nsecurity.protocol=sasl_ssl\nsasl.mechanism = SCRAM-SHA-512\r\nsasl.username=evpub\nsasl.password=" MARK " \n",
		"ssl.ca.location=" CONFIG_FILE "\nssl.key.password=" MARK "\nssl.key.location=/nowhere/" MARK "\n",
		"ssl.ca.pem=-----BEGIN CERTIFICATE-----\\n" MARK "\\n-----END CERTIFICATE-----\\n\n",
		"sasl.mechanisms=OAUTHBEARER\nsasl.oauthbearer.method=oidc\nsasl.oauthbearer.client.secret=" MARK "\nsasl.oauthbearer.token.endpoint.url=https://example.org/" MARK "\n",
		"sasl.mechanisms=GSSAPI\nsasl.kerberos.service.name=kafka\nsasl.kerberos.principal=" MARK "\n",
		"compression.codec=lz4\nlinger.ms=5\nbatch.size=" MARK "\n",
		"bootstrap.servers=" MARK ":9092\n",
		"sasl.pasword=" MARK "\n",
		"acks=1\n",
		"plugin.library.paths=" MARK "\n",
		"sasl.username=" MARK "  \n",
		"\xef\xbb\xbfsecurity.protocol=ssl\n",
		MARK " without a key\n",
		"ssl.endpoint.identification.algorithm=none\nssl.keystore.location=" CONFIG_FILE "\nssl.keystore.password=" MARK "\nclient.rack=a",
		"https.ca.location=probe\nclient.dns.lookup=use_all_dns_ips\nbroker.address.family=v4\nrequest.timeout.ms=" MARK "\n",
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		sample(samples[i]);
}
