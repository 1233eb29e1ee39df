package org.example.hr;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.core.io.ClassPathResource;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.SingleConnectionDataSource;
import org.springframework.jdbc.datasource.init.ResourceDatabasePopulator;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;

/**
 * Two consumers of one topic keep a copy each, through all that can happen: one goes by
 * field "type" and reads back over HTTP, one by header __TypeId__ and over JDBC.
 *
 * EVPUB_BROKERS, EVPUB_SOURCE_JDBC, EVPUB_CMS and EVPUB_COPY_JDBC name Kafka, a database
 * with evpub that has the tables and the load of test/t/040_spring.pl, the service in
 * front of it (examples/cms), and an empty database for the copies.
 */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class HrCopyTest {
	private static final String TOPIC = "cms-hr-operation";
	private static final Duration LIMIT = Duration.ofSeconds(60);

	/** A running consumer, and its copy. */
	private static class Consumer implements AutoCloseable {
		final Settings settings;
		final JdbcTemplate copy;
		final AnnotationConfigApplicationContext context;
		final Failures failures;
		int expectedLetters;

		Consumer(String name, String source, boolean typeHeaders) {
			String url = needed("EVPUB_COPY_JDBC");
			url += (url.contains("?") ? "&" : "?") + "currentSchema=" + name;
			copy = new JdbcTemplate(new SingleConnectionDataSource(url, true));
			copy.execute("CREATE SCHEMA " + name);
			new ResourceDatabasePopulator(new ClassPathResource("copy.sql")).execute(copy.getDataSource());

			settings = new Settings(needed("EVPUB_BROKERS"), TOPIC, "hr-" + name, source,
					// gives up on a lock soon
					url + "&options=-c%20lock_timeout=100", typeHeaders);
			context = new AnnotationConfigApplicationContext();
			context.registerBean("settings", Settings.class, () -> settings);
			context.register(HrConfiguration.class);
			context.refresh();
			failures = context.getBean(Failures.class);
		}

		KafkaListenerEndpointRegistry listeners() {
			return context.getBean(KafkaListenerEndpointRegistry.class);
		}

		/** Each of its threads has its partitions, so none is to move: attempts are counted per thread. */
		boolean isSettled() {
			return listeners().getListenerContainers().stream()
					.flatMap(all -> ((ConcurrentMessageListenerContainer<?, ?>) all).getContainers().stream())
					.noneMatch(one -> one.getAssignedPartitions() == null || one.getAssignedPartitions().isEmpty());
		}

		@Override
		public void close() {
			context.close();
			((SingleConnectionDataSource) copy.getDataSource()).destroy();
		}
	}

	private static JdbcTemplate source;
	private static final List<Consumer> consumers = new ArrayList<>();

	private static String needed(String variable) {
		String value = System.getenv(variable);
		return value != null ? value : fail(variable + " is not set: see README.md");
	}

	@BeforeAll
	static void start() {
		source = new JdbcTemplate(new SingleConnectionDataSource(needed("EVPUB_SOURCE_JDBC"), true));
		consumers.add(new Consumer("plain", needed("EVPUB_CMS"), false));
		consumers.add(new Consumer("headers", needed("EVPUB_SOURCE_JDBC"), true));
	}

	@AfterAll
	static void stop() {
		consumers.forEach(Consumer::close);
	}

	// ---- what is asked again and again ----

	private static final String ROWS = """
			SELECT (SELECT count(*) || ' ' || md5(coalesce(string_agg(concat_ws('|', tenant_id, id, name), ','
					ORDER BY tenant_id COLLATE "C", id), '')) FROM organization)
			|| (SELECT ' ' || count(*) || ' ' || md5(coalesce(string_agg(concat_ws('|', tenant_id, id, organization_id, name), ','
					ORDER BY tenant_id COLLATE "C", id), '')) FROM member)""";

	private static String rows(JdbcTemplate database) {
		return database.queryForObject(ROWS, String.class);
	}

	private static void await(String what, BooleanSupplier done) {
		await(what, true, done::getAsBoolean);
	}

	/** Fails when nothing has changed for LIMIT: how long it takes in all depends on the machine. */
	private static <T> void await(String what, T expected, Supplier<T> current) {
		T last = null;
		long deadline = 0;
		for (T now; !(now = current.get()).equals(expected); last = now) {
			if (!now.equals(last))
				deadline = System.nanoTime() + LIMIT.toNanos();
			else if (System.nanoTime() > deadline)
				fail(what + ": for " + LIMIT.toSeconds() + " s " + now + " instead of " + expected);
			try {
				Thread.sleep(50);
			}
			catch (InterruptedException e) {
				throw new IllegalStateException(e);
			}
		}
	}

	/** The copies are the source, and no event more than expected is a dead letter. */
	private static void assertEqualCopies() {
		for (var consumer : consumers) {
			String expected = rows(source);
			await("copy " + consumer.settings.group() + " is as the source", expected, () -> rows(consumer.copy));
			assertEquals(consumer.expectedLetters, consumer.failures.deadLetters.get(), "dead letters");
			assertEquals(consumer.expectedLetters, letters(consumer).size(), "dead letters in their topic");
		}
	}

	/** A partition is read in order: once this change of the tenant has arrived, so has all before it. */
	private static void assertOvertakenBy(String tenant, long organization) {
		source.update("INSERT INTO organization VALUES (?, ?, 'barrier')", tenant, organization);
		assertEqualCopies();
	}

	private static void send(String key, byte[] value) {
		try (var producer = new KafkaProducer<>(
				Map.<String, Object>of("bootstrap.servers", needed("EVPUB_BROKERS")),
				new StringSerializer(), new ByteArraySerializer())) {
			producer.send(new ProducerRecord<>(TOPIC, key, value));
		}
	}

	private static void published() {
		assertTrue(source.queryForObject("SELECT evpub.wait_published()", Boolean.class), "published");
	}

	private static List<ConsumerRecord<byte[], byte[]>> letters(Consumer consumer) {
		var found = new ArrayList<ConsumerRecord<byte[], byte[]>>();
		var partition = new TopicPartition(consumer.settings.deadLetters(), 0);
		try (var reader = new KafkaConsumer<>(
				Map.<String, Object>of("bootstrap.servers", needed("EVPUB_BROKERS")),
				new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
			reader.assign(List.of(partition));
			reader.seekToBeginning(List.of(partition));
			long end = reader.endOffsets(List.of(partition)).get(partition);
			long deadline = System.nanoTime() + LIMIT.toNanos();
			while (reader.position(partition) < end && System.nanoTime() < deadline)
				reader.poll(Duration.ofMillis(100)).forEach(found::add);
		}
		return found;
	}

	// ---- what must hold ----

	@Test
	@Order(1)
	void bulkOfOrganizationsAndMembersIsAppliedWithoutAnError() {
		assertEquals(6_000, source.queryForObject("SELECT count(*) FROM organization", Integer.class));
		assertEquals(6_000, source.queryForObject("SELECT count(*) FROM member", Integer.class));
		assertEqualCopies();
		for (var consumer : consumers)
			assertEquals(0, consumer.failures.attempts.get(), "failed attempts");
	}

	@Test
	@Order(2)
	void changesAreFollowed() {
		source.update("UPDATE organization SET name = name || '!' WHERE id <= 100");
		source.update("UPDATE member SET organization_id = 7 WHERE id BETWEEN 20 AND 30");
		source.update("UPDATE member SET id = id + 1000000 WHERE id BETWEEN 40 AND 45");
		source.update("DELETE FROM organization WHERE id IN (7, 8)");		// cascades
		source.update("INSERT INTO organization VALUES ('acme', 7, 'again')");
		source.update("INSERT INTO member VALUES ('acme', 20, 7, 'again')");
		assertEqualCopies();
	}

	@Test
	@Order(3)
	void rowThatIsNewerThanItsEventIsNoError() {
		consumers.forEach(consumer -> consumer.listeners().stop());
		source.update("UPDATE member SET name = 'moves' WHERE (tenant_id, id) = ('acme', 50)");
		source.update("INSERT INTO organization VALUES ('acme', 30001, 'new')");
		source.update("UPDATE member SET organization_id = 30001 WHERE (tenant_id, id) = ('acme', 50)");
		// and some that are gone by the time that their events are read
		source.update("INSERT INTO organization VALUES ('acme', 30002, 'short-lived')");
		source.update("INSERT INTO member VALUES ('acme', 30002, 30002, 'short-lived')");
		source.update("DELETE FROM organization WHERE (tenant_id, id) = ('acme', 30002)");
		published();
		consumers.forEach(consumer -> consumer.listeners().start());
		assertEqualCopies();
		for (var consumer : consumers)
			assertEquals(0, consumer.failures.attempts.get(), "failed attempts");
	}

	@Test
	@Order(4)
	void unknownTypesAreIgnored() {
		source.update("INSERT INTO code VALUES ('acme', 'GRADE-1', 'Junior')");		// __TypeId__ code
		source.execute("SELECT evpub.publish('payroll.closed', 'acme')");
		source.execute("SELECT evpub.publish('payroll.closed', 'acme', headers => '{\"__TypeId__\": \"com.acme.Payroll\"}')");
		source.execute("SELECT evpub.publish_raw('%s', 'acme', NULL)".formatted(TOPIC));	// a tombstone
		assertOvertakenBy("acme", 30004);
		for (var consumer : consumers)
			assertEquals(0, consumer.failures.attempts.get(), "failed attempts");
	}

	@Test
	@Order(5)
	void repeatedEventIsAppliedOnce() {
		String lsn = source.queryForObject("SELECT pg_current_wal_insert_lsn()::text", String.class);
		source.update("INSERT INTO organization VALUES ('acme', 30005, 'there')");
		source.update("DELETE FROM organization WHERE (tenant_id, id) = ('acme', 30005)");
		source.update("INSERT INTO organization VALUES ('acme', 30005, 'there again')");
		published();
		String deleted = source.queryForObject(
				"SELECT value FROM evpub.peek(100, ?::pg_lsn) WHERE value ~ 'organization.deleted'", String.class, lsn);
		send("acme", deleted.getBytes(StandardCharsets.UTF_8));
		assertOvertakenBy("acme", 30006);
	}

	@Test
	@Order(6)
	void whatIsNoEventIsADeadLetterAtOnce() {
		consumers.forEach(consumer -> await("threads have their partitions", consumer::isSettled));
		byte[] poison = "{not json".getBytes(StandardCharsets.UTF_8);
		int[] attempts = consumers.stream().mapToInt(consumer -> consumer.failures.attempts.get()).toArray();
		send("acme", poison);
		for (var consumer : consumers)
			consumer.expectedLetters++;
		assertOvertakenBy("acme", 30007);
		for (int i = 0; i < consumers.size(); i++) {
			var letters = letters(consumers.get(i));
			assertArrayEquals(poison, letters.get(letters.size() - 1).value());
			assertTrue(consumers.get(i).failures.attempts.get() <= attempts[i] + 1, "not tried again");
		}
	}

	@Test
	@Order(7)
	void rowThatTheCopyCannotTakeIsADeadLetterAfterSomeAttempts() {
		consumers.forEach(consumer -> await("threads have their partitions", consumer::isSettled));
		int[] attempts = consumers.stream().mapToInt(consumer -> consumer.failures.attempts.get()).toArray();
		source.update("INSERT INTO organization VALUES ('acme', 30008, repeat('x', 61))");
		for (int i = 0; i < consumers.size(); i++) {
			var consumer = consumers.get(i);
			int letter = ++consumer.expectedLetters;
			await("dead letter", () -> consumer.failures.deadLetters.get() == letter);
			assertEquals(attempts[i] + 4, consumer.failures.attempts.get(), "attempts");
			var letters = letters(consumer);
			assertTrue(new String(letters.get(letters.size() - 1).value(), StandardCharsets.UTF_8)
					.contains("\"id\":30008"));
		}
		// what comes next has the row, since all events of a row say the same: read it back
		source.update("UPDATE organization SET name = 'short' WHERE (tenant_id, id) = ('acme', 30008)");
		assertEqualCopies();
	}

	@Test
	@Order(8)
	void outageIsWaitedForAndMakesNoDeadLetter() {
		var before = consumers.stream().map(consumer -> consumer.failures.outages.get()).toList();
		for (var consumer : consumers) {
			consumer.copy.execute("BEGIN");
			consumer.copy.execute("LOCK applied");
		}
		source.update("UPDATE member SET name = 'late' WHERE (tenant_id, id) = ('acme', 60)");
		// more often than what makes a dead letter of an event
		for (int i = 0; i < consumers.size(); i++) {
			var failures = consumers.get(i).failures;
			int enough = before.get(i) + 6;
			await("attempts", () -> failures.outages.get() >= enough);
		}
		consumers.forEach(consumer -> consumer.copy.execute("ROLLBACK"));
		assertEqualCopies();
	}

	@Test
	@Order(9)
	void resyncIsSwept() {
		source.update("INSERT INTO organization SELECT 'initech', i, 'o' FROM generate_series(1, 20) i");
		source.update("INSERT INTO member SELECT 'initech', i, i, 'm' FROM generate_series(1, 20) i");
		assertEqualCopies();
		// changes that are not published
		source.execute("""
				SET evpub.capture = off;
				DELETE FROM organization WHERE tenant_id = 'initech' AND id IN (3, 4);
				DELETE FROM member WHERE tenant_id = 'initech' AND id = 5;
				UPDATE member SET name = 'changed' WHERE tenant_id = 'initech' AND id = 6;
				INSERT INTO organization VALUES ('initech', 21, 'missed');
				INSERT INTO member VALUES ('initech', 21, 21, 'missed');
				RESET evpub.capture""");
		// members alone: one brings the organization that was not published
		source.execute("CALL evpub.resync('{member}', tenant => 'initech')");
		for (var consumer : consumers)
			await("the member that was missed", () -> consumer.copy.queryForObject(
					"SELECT EXISTS (SELECT FROM member WHERE (tenant_id, id) = ('initech', 21))", Boolean.class));
		source.execute("CALL evpub.resync('{organization}', tenant => 'initech')");
		assertEqualCopies();
		for (var consumer : consumers)
			assertEquals(0, consumer.copy.queryForObject("SELECT count(*) FROM resync", Integer.class));
	}

	@Test
	@Order(10)
	void rowThatAResyncCouldNotStoreIsNotSwept() {
		// a name that the copy cannot take is not published before the resync
		source.execute("""
				SET evpub.capture = off;
				UPDATE organization SET name = repeat('x', 61) WHERE (tenant_id, id) = ('initech', 7);
				RESET evpub.capture""");
		source.execute("CALL evpub.resync('{organization}', tenant => 'initech')");
		source.update("INSERT INTO organization VALUES ('initech', 22, 'behind it')");
		for (var consumer : consumers) {
			await("what comes behind the resync", () -> consumer.copy.queryForObject(
					"SELECT EXISTS (SELECT FROM organization WHERE (tenant_id, id) = ('initech', 22))", Boolean.class));
			consumer.expectedLetters++;
			assertEquals("o", consumer.copy.queryForObject(
					"SELECT name FROM organization WHERE (tenant_id, id) = ('initech', 7)", String.class));
		}
		source.update("UPDATE organization SET name = 'short' WHERE (tenant_id, id) = ('initech', 7)");
		assertEqualCopies();
	}

	@Test
	@Order(11)
	void truncateEmptiesTheCopyOfEachTenant() {
		source.execute("TRUNCATE member");
		assertEqualCopies();
	}
}
