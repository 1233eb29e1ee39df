package org.example.hr;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonTypeInfo;

/** Changes were committed that will not be published. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NONE)
public record GapEvent(String id, String type, Range data) implements Event {

	public record Range(@JsonProperty("first_lsn") String firstLsn,
			@JsonProperty("last_lsn") String lastLsn, String reason) {
	}
}
