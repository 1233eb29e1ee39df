package org.example.hr;

import java.util.Optional;

/** Reads rows back as they are now; empty: there is none. */
public interface Source {
	record Organization(String tenant, long id, String name) {
	}

	record Member(String tenant, long id, long organization, String name) {
	}

	Optional<Organization> organization(String tenant, long id);

	Optional<Member> member(String tenant, long id);

	/** Of the service that owns the rows, http://..., or of its database, jdbc:... */
	static Source of(String url) {
		return url.startsWith("jdbc:") ? new JdbcSource(url) : new HttpSource(url);
	}
}
