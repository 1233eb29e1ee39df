package org.example.hr;

import java.util.Optional;

import com.zaxxer.hikari.HikariDataSource;
import org.springframework.jdbc.core.JdbcTemplate;

/** From the database itself. */
public class JdbcSource implements Source, AutoCloseable {
	private final HikariDataSource pool;
	private final JdbcTemplate jdbc;

	public JdbcSource(String url) {
		pool = HrConfiguration.pool(url);
		jdbc = new JdbcTemplate(pool);
	}

	@Override
	public Optional<Organization> organization(String tenant, long id) {
		return jdbc.query("SELECT name FROM organization WHERE (tenant_id, id) = (?, ?)",
				(row, i) -> new Organization(tenant, id, row.getString(1)), tenant, id)
				.stream().findFirst();
	}

	@Override
	public Optional<Member> member(String tenant, long id) {
		return jdbc.query("SELECT organization_id, name FROM member WHERE (tenant_id, id) = (?, ?)",
				(row, i) -> new Member(tenant, id, row.getLong(1), row.getString(2)), tenant, id)
				.stream().findFirst();
	}

	@Override
	public void close() {
		pool.close();
	}
}
