package org.example.hr;

import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.kafka.listener.RetryListener;

/** Counts and logs what went wrong. */
public class Failures implements RetryListener {
	private static final Logger log = LoggerFactory.getLogger(Failures.class);
	/** Attempts that failed because of the event, and because of a database. */
	public final AtomicInteger attempts = new AtomicInteger();
	public final AtomicInteger outages = new AtomicInteger();
	public final AtomicInteger deadLetters = new AtomicInteger();

	@Override
	public void failedDelivery(ConsumerRecord<?, ?> record, Exception e, int attempt) {
		(HrConfiguration.isOutage(e) ? outages : attempts).incrementAndGet();
		log.warn("{}-{}@{}, attempt {}", record.topic(), record.partition(), record.offset(), attempt, e);
	}

	@Override
	public void recovered(ConsumerRecord<?, ?> record, Exception e) {
		deadLetters.incrementAndGet();
		log.error("dead letter: {}-{}@{}", record.topic(), record.partition(), record.offset(), e);
	}
}
