package org.example.hr;

/**
 * @param brokers     of Kafka
 * @param topic       that evpub publishes to
 * @param group       of this consumer
 * @param source      URL of the service whose rows are copied, or JDBC URL of its database
 * @param copy        JDBC URL of the database with the tables of copy.sql
 * @param typeHeaders records by header __TypeId__ instead of field "type"
 */
public record Settings(String brokers, String topic, String group, String source, String copy,
		boolean typeHeaders) {

	public String deadLetters() {
		return topic + "-" + group + "-dlt";
	}
}
