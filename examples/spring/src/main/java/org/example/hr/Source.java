package org.example.hr;

import java.util.Optional;

import javax.sql.DataSource;

import org.springframework.jdbc.core.JdbcTemplate;

/**
 * Reads rows back as they are now.  Here from the database itself; in a service
 * of its own this is an HTTP client, GET /tenants/acme/members/42.
 */
public class Source {
	public record Organization(String tenant, long id, String name) {
	}

	public record Member(String tenant, long id, long organization, String name) {
	}

	private final JdbcTemplate jdbc;

	public Source(DataSource source) {
		jdbc = new JdbcTemplate(source);
	}

	public Optional<Organization> organization(String tenant, long id) {
		return jdbc.query("SELECT name FROM organization WHERE (tenant_id, id) = (?, ?)",
				(row, i) -> new Organization(tenant, id, row.getString(1)), tenant, id)
				.stream().findFirst();
	}

	public Optional<Member> member(String tenant, long id) {
		return jdbc.query("SELECT organization_id, name FROM member WHERE (tenant_id, id) = (?, ?)",
				(row, i) -> new Member(tenant, id, row.getLong(1), row.getString(2)), tenant, id)
				.stream().findFirst();
	}
}
