package org.example.hr;

/**
 * @param brokers     of Kafka
 * @param topic       that evpub publishes to
 * @param group       of this consumer
 * @param source      JDBC URL of the database whose rows are copied
 * @param copy        JDBC URL of the database with the tables of copy.sql
 * @param typeHeaders records by header __TypeId__ instead of field "type"
 */
public record Settings(String brokers, String topic, String group, String source, String copy,
		boolean typeHeaders) {

	public String deadLetters() {
		return topic + "-" + group + "-dlt";
	}
}
