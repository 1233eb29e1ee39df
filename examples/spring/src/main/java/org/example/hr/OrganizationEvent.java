package org.example.hr;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonTypeInfo;

/** The row of an organization was changed; of marks and of "truncated", pk is null. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NONE)	// the class itself may be asked for, by __TypeId__
public record OrganizationEvent(String id, String type, String tenant, Key pk, String lsn,
		RowEvent.Mark data) implements RowEvent {

	public record Key(@JsonProperty("tenant_id") String tenantId, long id) {
	}
}
