package org.example.hr;

import java.sql.SQLException;
import java.util.Map;
import java.util.regex.Pattern;

import javax.sql.DataSource;

import com.zaxxer.hikari.HikariDataSource;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.dao.NonTransientDataAccessResourceException;
import org.springframework.dao.RecoverableDataAccessException;
import org.springframework.dao.TransientDataAccessException;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.support.serializer.DelegatingByTypeSerializer;
import org.springframework.kafka.support.serializer.ErrorHandlingDeserializer;
import org.springframework.kafka.support.serializer.JacksonJsonDeserializer;
import org.springframework.kafka.support.serializer.JacksonJsonSerializer;
import org.springframework.transaction.TransactionException;
import org.springframework.util.backoff.ExponentialBackOff;
import org.springframework.util.backoff.FixedBackOff;

/** The consumer; a bean of type {@link Settings}, named "settings", has to be there. */
@Configuration
@EnableKafka
public class HrConfiguration {

	@Bean
	public ConsumerFactory<String, Event> consumerFactory(Settings settings) {
		var factory = new DefaultKafkaConsumerFactory<String, Event>(Map.of(
				ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.brokers(),
				ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
				ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed"));
		factory.setKeyDeserializerSupplier(StringDeserializer::new);
		factory.setValueDeserializerSupplier(() -> new ErrorHandlingDeserializer<>(deserializer(settings)));
		return factory;
	}

	static JacksonJsonDeserializer<Event> deserializer(Settings settings) {
		var json = new JacksonJsonDeserializer<Event>(Event.class);
		if (settings.typeHeaders())
			json.setTypeMapper(new KnownTypes());	// by __TypeId__; Event where that is missing
		else
			json.setUseTypeHeaders(false);			// by field "type", see Event
		return json;
	}

	@Bean
	public ConcurrentKafkaListenerContainerFactory<String, Event> kafkaListenerContainerFactory(
			ConsumerFactory<String, Event> consumers, DefaultErrorHandler errors) {
		var factory = new ConcurrentKafkaListenerContainerFactory<String, Event>();
		factory.setConsumerFactory(consumers);
		factory.setCommonErrorHandler(errors);
		return factory;
	}

	/**
	 * An event that cannot be applied goes to the dead letters after four
	 * attempts, one that cannot be parsed at once; the next ones wait meanwhile,
	 * so order holds.  What is the fault of a database or service, and not of the event, is
	 * tried until it works: else an outage would make all events dead letters.
	 */
	@Bean
	public DefaultErrorHandler errors(KafkaTemplate<String, Object> letters, Copy copy, Settings settings,
			Failures failures) {
		var recoverer = new DeadLetterPublishingRecoverer(letters,
				(record, exception) -> new TopicPartition(settings.deadLetters(), 0));
		var handler = new DefaultErrorHandler((record, exception) -> {
			copy.abandonRuns((String) record.key());	// the key is the tenant
			recoverer.accept(record, exception);
		}, new FixedBackOff(200, 3));
		var outage = new ExponentialBackOff(200, 1.5);
		outage.setMaxInterval(10_000);		// well below max.poll.interval.ms
		handler.setBackOffFunction((record, exception) -> isOutage(exception) ? outage : null);
		handler.setRetryListeners(failures);
		return handler;
	}

	/**
	 * By SQLSTATE, where there is one: connection, conflict with another
	 * transaction, resources, operator, system; lock_timeout; a server that only
	 * reads, after a failover.  Spring's exceptions know less: class 54, a
	 * statement beyond PostgreSQL's limits, is an outage to them.
	 */
	private static final Pattern OUTAGES = Pattern.compile("08|40|53|57|58|55P03|25006");

	static boolean isOutage(Throwable exception) {
		for (Throwable e = exception; e != null; e = e.getCause())
			if (e instanceof SQLException sql && sql.getSQLState() != null)
				return OUTAGES.matcher(sql.getSQLState()).lookingAt();
		for (Throwable e = exception; e != null; e = e.getCause())
			if (HttpSource.isOutage(e) || e instanceof TransientDataAccessException || e instanceof RecoverableDataAccessException
					|| e instanceof NonTransientDataAccessResourceException || e instanceof TransactionException)
				return true;
		return false;
	}

	/** Dead letters: bytes as they were where they could not be parsed, else the event as JSON. */
	@Bean
	public KafkaTemplate<String, Object> letters(Settings settings) {
		var producers = new DefaultKafkaProducerFactory<String, Object>(Map.of(
				ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.brokers()));
		producers.setKeySerializer(new StringSerializer());
		producers.setValueSerializer(new DelegatingByTypeSerializer(Map.of(
				byte[].class, new ByteArraySerializer(),
				Event.class, new JacksonJsonSerializer<Event>().noTypeInfo()), true));
		return new KafkaTemplate<>(producers);
	}

	@Bean
	public KafkaAdmin admin(Settings settings) {
		return new KafkaAdmin(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, settings.brokers()));
	}

	@Bean
	public NewTopic deadLetterTopic(Settings settings) {
		return new NewTopic(settings.deadLetters(), 1, (short) -1);
	}

	@Bean
	public Failures failures() {
		return new Failures();
	}

	@Bean
	public Source source(Settings settings) {
		return Source.of(settings.source());
	}

	@Bean
	public DataSource copyDatabase(Settings settings) {
		return pool(settings.copy());
	}

	static HikariDataSource pool(String url) {
		var pool = new HikariDataSource();
		pool.setJdbcUrl(url);
		pool.setMaximumPoolSize(3);		// as many as the listener has threads
		return pool;
	}

	@Bean
	public Copy copy(DataSource copyDatabase) {
		return new Copy(copyDatabase);
	}

	@Bean
	public HrListener listener(Source source, Copy copy) {
		return new HrListener(source, copy);
	}
}
