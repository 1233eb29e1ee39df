/*
 * advice.c
 *		What to do about a reason that brings no hint of its own.
 *
 * Whoever makes a reason knows best what to do, and says so behind a line feed
 * (reason.h).  Much of what hinders publishing comes from librdkafka, brokers,
 * TLS and the operating system, in their words; these are looked up here.  A test
 * compares the list with the texts in the source: none is without an answer.
 */
#include "postgres.h"

#include "publisher/advice.h"
#include "sender/relayplace.h"

#define RELOAD "then: SELECT pg_reload_conf();"
#define FILE_OF "the file that evpub.kafka_config_file names"

/* The first whose text the reason holds counts: the special before the general. */
static const struct
{
	const char *part;
	const char *hint;
}			advices[] =
{
	/* reading back */
	{"in-sync replica of topic", "Start this broker, or mend the network to it. It goes on by itself, also when Kafka has taken the broker out of the replicas in sync, and after 45 s in any case."},
	{"its leader lags behind", "Look at the brokers that hold this partition: kafka-topics.sh --describe --topic <topic>. It goes on by itself when the leader has the records. If the topic was made again, wait up to 30 s until the reason says so, then: SELECT evpub.resume();"},
	{"cannot be read back yet", "Look at the brokers that hold this partition: kafka-topics.sh --describe --topic <topic>. It goes on by itself."},
	{"reading back topic", "Nothing yet: what was written to the partition since evpub's last record is looked through once."},

	/* topics */
	{"deleted and made again", "Tell those who run its consumers, then: SELECT evpub.resume();"},
	{"does not exist any more", "Create it with as many partitions as it had (SELECT topic, partitions FROM evpub.topics;). When the reason has become \"deleted and made again\": SELECT evpub.resume(); A topic that is retired: SELECT evpub.forget_topic('<topic>');"},
	{"evpub.create_topics is off", "Create the topic (kafka-topics.sh --create), or: ALTER SYSTEM SET evpub.create_topics = on; SELECT pg_reload_conf();"},
	{"cannot be created", "Create the topic (kafka-topics.sh --create), or let evpub's user create it (kafka-acls.sh --add --allow-principal User:<name> --operation Create --topic <topic>); evpub.topic_partitions and evpub.topic_replication_factor must suit the cluster."},
	{" being created", "Nothing yet: Kafka takes its time. If this stays, look at the log of the cluster's controller."},
	{"without a leader", "Start the brokers that hold these partitions; kafka-topics.sh --describe --unavailable-partitions names them."},
	{"CLUSTER_AUTHORIZATION_FAILED", "It means that evpub's user may write to no topic at all. Grant him WRITE and READ on each topic: kafka-acls.sh --add --allow-principal User:<name> --operation Write --operation Read --topic <topic>. (Not READ with evpub.delivery = 'at_least_once'.) It goes on by itself."},
	{"authorization failed", "Grant evpub's user WRITE and READ on the topic: kafka-acls.sh --add --allow-principal User:<name> --operation Write --operation Read --topic <topic>. (Not READ with evpub.delivery = 'at_least_once'.) It goes on by itself."},

	/* records */
	{"MSG_SIZE_TOO_LARGE", "Raise max.message.bytes of the topic (kafka-configs.sh); publishing then goes on by itself. A lower evpub.max_event_bytes has later writers get an error. To give up exactly this event: SELECT evpub.skip_event('<id>');"},
	{"INVALID_TIMESTAMP", "Compare the clocks of this server and of the brokers, and the topic's message.timestamp settings."},
	{"INVALID_RECORD", "A compacted topic takes no record without a key: give such events a key, or change the topic's cleanup.policy. To give up exactly this event: SELECT evpub.skip_event('<id>');"},
	{"one by one", "Nothing yet: the event to blame is named when it is found."},
	{"NOT_ENOUGH_REPLICAS", "Start the brokers that hold replicas of the topic, or lower its min.insync.replicas."},
	{"no acknowledgement", "Brokers answer, but do not acknowledge. Look at brokers and min.insync.replicas: kafka-topics.sh --describe --under-min-isr-partitions. It goes on by itself."},

	/* connections: the cause stands behind the servers */
	{"certificate", "Compare ssl.ca.location and the certificates in " FILE_OF " with those of the brokers, and their names with evpub.bootstrap_servers; " RELOAD},
	{"SSL", "Does this port speak TLS? Compare security.protocol and the ssl. properties in " FILE_OF " with the brokers' listeners; " RELOAD},
	{"SASL", "Mend sasl.mechanism, sasl.username and sasl.password in " FILE_OF "; " RELOAD},
	{"uthentication", "Mend sasl.mechanism, sasl.username and sasl.password in " FILE_OF "; " RELOAD},
	{"refused", "No broker listens there. Start it, or: ALTER SYSTEM SET evpub.bootstrap_servers = '<host>:9092'; SELECT pg_reload_conf();"},
	{"resolve", "The name is not known to this server. Mend it or the resolver, or: ALTER SYSTEM SET evpub.bootstrap_servers = '<host>:9092'; SELECT pg_reload_conf();"},
	{"Disconnected", "A broker that closes the connection may want TLS or SASL: compare security.protocol in " FILE_OF " with its listeners; " RELOAD},
	{"no broker answers at", "Start the brokers, or mend their advertised.listeners: this server must reach the addresses that the cluster gives."},
	{"no broker of", "Look at the network, and whether it is a listener of a broker, with the right security.protocol. After a change of settings: SELECT pg_reload_conf();"},
	{"no connection to", "Compare security.protocol and credentials in " FILE_OF " with the brokers' listeners; " RELOAD},

	/* settings */
	{" line ", "Mend this line of the file, " RELOAD},
	{"is not a regular file", "Name another file as evpub.kafka_config_file, " RELOAD},
	{"must be owned by", "Mend the file's owner, " RELOAD},
	{"must not be accessible", "chmod 0600 the file (0640 is enough where its group is one of the server's user), " RELOAD},
	{"could not open file", "Mend the file or its rights, or name another one, " RELOAD},
	{"could not read file", "Mend the file or its rights, or name another one, " RELOAD},
	{"cannot be used: versions", "Install another librdkafka for the program evpub-relay, " RELOAD},
	{"librdkafka", "If a property of " FILE_OF " is named, mend it; else install a newer librdkafka for the program evpub-relay. Either way, " RELOAD},

	/* the relay */
	{"ended unexpectedly", "The server log has what the relay said, and how it ended. After signal 9: a person, or the kernel for want of memory (see the kernel's log). It is started again by itself."},
	{"of the same version", "Install library and program evpub-relay of one version, and restart the server."},
	{"the server", "Install library and program evpub-relay of one version, and restart the server."},
	{"could not start", "Look at the limits of the operating system for processes, files and memory. It is tried again by itself."},
	{"could not create a socket pair", "Look at the limits of the operating system for open files. It is tried again by itself."},
	{"could not make an event descriptor", "Look at the limits of the operating system for open files. It is tried again by itself."},
	{"could not execute", EVPUB_RELAY_PLACE_HINT},

	/* this server */
	{"No space left", "Make room in the file system of the data directory. It goes on by itself."},
	{"could not write", "Make room, or mend the rights of directory \"evpub\" in the data directory. It goes on by itself."},
	{"could not create file", "Make room, or mend the rights of directory \"evpub\" in the data directory. It goes on by itself."},
	{"could not fsync", "Look at the disk of the data directory. It goes on by itself."},
	{"could not rename", "Mend the rights of directory \"evpub\" in the data directory. It goes on by itself."},
	{"out of memory", "This server lacks memory. It is tried again by itself."},
	{"could not read", "Look at the file that is named: rights, limits, disk. It is tried again by itself."},
	{"could not open", "Look at the file that is named: rights, limits, disk. It is tried again by itself."},
};

/* Names of topics, files and properties stand between quotes, and say nothing. */
static char *
without_names(const char *reason)
{
	char	   *text = pstrdup(reason);
	char	   *to = text;
	bool		quoted = false;

	for (const char *from = reason; *from; from++)
	{
		if (*from == '"')
			quoted = !quoted;
		else if (!quoted)
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

const char *
evpub_advice(const char *reason)
{
	char	   *text = without_names(reason);

	for (int i = 0; i < (int) lengthof(advices); i++)
	{
		if (strstr(text, advices[i].part) != NULL)
		{
			pfree(text);
			return advices[i].hint;
		}
	}
	pfree(text);
	return "Look into the server log. It is tried again by itself.";
}
