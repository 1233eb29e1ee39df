package org.example.hr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;

import org.apache.kafka.common.header.internals.RecordHeaders;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which record an event becomes, by field "type" and by header __TypeId__. */
class EventTest {
	private static Event read(boolean typeHeaders, String typeId, String json) {
		var headers = new RecordHeaders();
		if (typeId != null)
			headers.add("__TypeId__", typeId.getBytes(StandardCharsets.UTF_8));
		try (var deserializer = HrConfiguration.deserializer(
				new Settings(null, null, null, null, null, typeHeaders))) {
			return deserializer.deserialize("t", headers, json.getBytes(StandardCharsets.UTF_8));
		}
	}

	private static String event(String type) {
		return """
				{"id":"5f0c2a9e41d7b386-00000001-000000001A2B3C48-00000000","type":"%s","tenant":"acme",\
				"pk":{"tenant_id":"acme","id":9007199254740993},"lsn":"0/1A2B3C48","tx":1,\
				"time":"2026-11-20T13:43:46.123456Z"}""".formatted(type);
	}

	@ParameterizedTest
	@ValueSource(booleans = { false, true })
	void rowsBecomeRecords(boolean typeHeaders) {
		var member = assertInstanceOf(MemberEvent.class, read(typeHeaders, "member", event("member.created")));
		assertEquals("created", member.kind());
		assertEquals("acme", member.tenant());
		assertEquals(9007199254740993L, member.pk().id());
		assertNull(member.data());
		assertInstanceOf(OrganizationEvent.class, read(typeHeaders, "organization", event("organization.deleted")));
	}

	@ParameterizedTest
	@ValueSource(booleans = { false, true })
	void marksAreEventsOfTheirTable(boolean typeHeaders) {
		var mark = assertInstanceOf(MemberEvent.class, read(typeHeaders, "member", """
				{"id":"x","type":"member.resync_finished","tenant":"acme","pk":null,"data":{"run":"r"}}"""));
		assertEquals("r", mark.data().run());
		assertTrue(mark.data().whole());
		assertNull(mark.pk());
	}

	@ParameterizedTest
	@ValueSource(booleans = { false, true })
	void theGapIsKnownWithoutHeader(boolean typeHeaders) {
		var gap = assertInstanceOf(GapEvent.class, read(typeHeaders, null, """
				{"id":"x","type":"evpub.gap","tenant":null,"pk":null,"lsn":"0/2","tx":5,
				"data":{"first_lsn":"0/1","last_lsn":"0/2","reason":"-","transactions":["731"]}}"""));
		assertEquals("0/2", gap.data().lastLsn());
	}

	@ParameterizedTest
	@ValueSource(booleans = { false, true })
	void unknownTypesAreNoError(boolean typeHeaders) {
		assertInstanceOf(OtherEvent.class, read(typeHeaders, "com.acme.Payroll", event("payroll.closed")));
		assertInstanceOf(OtherEvent.class, read(typeHeaders, null, event("payroll.closed")));
		assertInstanceOf(OtherEvent.class, read(typeHeaders, null, "{\"theme\":\"dark\"}"));
	}

	@Test
	void withHeadersTheHeaderDecides() {
		assertInstanceOf(MemberEvent.class, read(true, "member", event("person.hired")));
		assertInstanceOf(MemberEvent.class, read(false, "person", event("member.created")));
	}

	@ParameterizedTest
	@ValueSource(strings = { "{not json", "\"text\"", "[]", "{\"type\":\"member.created\",\"pk\":{\"id\":\"x\"}}" })
	void whatIsNoEventIsAnError(String value) {
		assertThrows(Exception.class, () -> read(false, null, value));
	}
}
