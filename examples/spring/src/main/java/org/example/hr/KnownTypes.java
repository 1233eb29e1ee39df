package org.example.hr;

import java.util.Map;

import org.apache.kafka.common.header.Headers;
import org.springframework.kafka.support.mapping.DefaultJacksonJavaTypeMapper;

import tools.jackson.databind.JavaType;
import tools.jackson.databind.type.TypeFactory;

/**
 * Header __TypeId__, as capture_table(headers => '{"__TypeId__": "member"}')
 * sets it, to record.  Spring's own mapper takes a name that it does not know
 * for the name of a class, and fails; here it is an event to be ignored.
 */
public final class KnownTypes extends DefaultJacksonJavaTypeMapper {
	public KnownTypes() {
		setTypePrecedence(TypePrecedence.TYPE_ID);	// a mapper made by hand ignores headers otherwise
		setIdClassMapping(Map.of(
				"organization", OrganizationEvent.class,
				"member", MemberEvent.class));
	}

	@Override
	public JavaType toJavaType(Headers headers) {
		String name = retrieveHeaderAsString(headers, getClassIdFieldName());
		if (name != null && !getIdClassMapping().containsKey(name))
			return TypeFactory.createDefaultInstance().constructType(OtherEvent.class);
		return super.toJavaType(headers);	// without the header: null, and the default type is taken
	}
}
