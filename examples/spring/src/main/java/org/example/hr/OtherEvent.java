package org.example.hr;

import com.fasterxml.jackson.annotation.JsonTypeInfo;

/** An event that this consumer has no use for. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NONE)
public record OtherEvent(String id, String type) implements Event {
}
