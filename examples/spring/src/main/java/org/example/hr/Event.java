package org.example.hr;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonSubTypes.Type;
import com.fasterxml.jackson.annotation.JsonTypeInfo;

/**
 * An event in the plain envelope: field "type" says which record it becomes.
 * A type that is not named here becomes an {@link OtherEvent}, never an error:
 * more tables may be captured at any time.
 */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, include = JsonTypeInfo.As.EXISTING_PROPERTY,
		property = "type", visible = true, defaultImpl = OtherEvent.class)
@JsonSubTypes({
	@Type(value = OrganizationEvent.class, names = {
		"organization.created", "organization.updated", "organization.deleted",
		"organization.truncated", "organization.resync_started",
		"organization.resynced", "organization.resync_finished" }),
	@Type(value = MemberEvent.class, names = {
		"member.created", "member.updated", "member.deleted",
		"member.truncated", "member.resync_started",
		"member.resynced", "member.resync_finished" }),
	@Type(value = GapEvent.class, name = "evpub.gap") })
public interface Event {
	String id();

	String type();
}
