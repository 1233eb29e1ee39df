package org.example.hr;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.kafka.annotation.KafkaHandler;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;

/**
 * Keeps the copy.  An event says that a row was changed, not to what: all but
 * "deleted" and "truncated" is "read it back, and store what is there now".
 */
@KafkaListener(topics = "#{@settings.topic()}", groupId = "#{@settings.group()}", concurrency = "3")
public class HrListener {
	private static final Logger log = LoggerFactory.getLogger(HrListener.class);
	private final Source source;
	private final Copy copy;

	public HrListener(Source source, Copy copy) {
		this.source = source;
		this.copy = copy;
	}

	@KafkaHandler
	public void on(@Payload OrganizationEvent event,
			@Header(KafkaHeaders.RECEIVED_TOPIC) String topic,
			@Header(KafkaHeaders.RECEIVED_PARTITION) int partition) {
		copy.once(topic, partition, event.id(), () -> {
			switch (event.kind()) {
				case "created", "updated", "resynced" -> copyOrganization(event.tenant(), event.pk().id());
				case "deleted" -> copy.delete(Copy.ORGANIZATION, event.tenant(), event.pk().id());
				default -> apply(event, Copy.ORGANIZATION);
			}
		});
	}

	@KafkaHandler
	public void on(@Payload MemberEvent event,
			@Header(KafkaHeaders.RECEIVED_TOPIC) String topic,
			@Header(KafkaHeaders.RECEIVED_PARTITION) int partition) {
		copy.once(topic, partition, event.id(), () -> {
			switch (event.kind()) {
				case "created", "updated", "resynced" -> copyMember(event.tenant(), event.pk().id());
				case "deleted" -> copy.delete(Copy.MEMBER, event.tenant(), event.pk().id());
				default -> apply(event, Copy.MEMBER);
			}
		});
	}

	/** Everything else, null included, is of no use here. */
	@KafkaHandler(isDefault = true)
	public void ignore(@Payload(required = false) Object other) {
		log.debug("ignored {}", other);
	}

	/** The copy may lack anything now: get even by CALL evpub.resync(...), which is swept after. */
	@KafkaHandler
	public void on(@Payload GapEvent event) {
		log.error("events are lost, a resync is needed: {}", event);
	}

	private void copyOrganization(String tenant, long id) {
		source.organization(tenant, id).ifPresent(copy::store);	// not found: "deleted" follows
	}

	private void copyMember(String tenant, long id) {
		source.member(tenant, id).ifPresent(member -> {
			if (copy.store(member))
				return;
			// the row is newer than its event, its organization's event is still to come
			source.organization(tenant, member.organization()).ifPresent(organization -> {
				copy.store(organization);
				copy.store(member);
			});
			// not found: moved or deleted since, the event of that follows
		});
	}

	/** Events of all rows of a tenant. */
	private void apply(RowEvent event, String table) {
		switch (event.kind()) {
			case "truncated" -> copy.deleteAll(table, event.tenant());
			case "resync_started" -> {
				if (event.data().whole())
					copy.startRun(table, event.tenant(), event.data().run());
			}
			case "resync_finished" -> copy.finishRun(table, event.tenant(), event.data().run());
			default -> log.debug("ignored {}", event);
		}
	}
}
