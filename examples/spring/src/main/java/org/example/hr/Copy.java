package org.example.hr;

import javax.sql.DataSource;

import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.support.JdbcTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;

/** The consumer's own tables, see copy.sql. */
public class Copy {
	public static final String ORGANIZATION = "organization";
	public static final String MEMBER = "member";

	private final JdbcTemplate jdbc;
	private final TransactionTemplate transaction;

	public Copy(DataSource copy) {
		jdbc = new JdbcTemplate(copy);
		transaction = new TransactionTemplate(new JdbcTransactionManager(copy));
	}

	/**
	 * Does what an event asks for, unless that was done before: the id of the
	 * event commits together with its effect, so neither a crash nor a repeated
	 * record can part them.  Ids of one publisher ascend in a partition; the
	 * first 16 digits are the publisher.
	 */
	public void once(String topic, int partition, String id, Runnable apply) {
		transaction.executeWithoutResult(status -> {
			int fresh = jdbc.update("""
					INSERT INTO applied VALUES (?, ?, ?)
					ON CONFLICT (topic, partition) DO UPDATE SET id = excluded.id
					WHERE applied.id < excluded.id OR left(applied.id, 16) <> left(excluded.id, 16)
					""", topic, partition, id);
			if (fresh == 1)
				apply.run();
		});
	}

	public void store(Source.Organization row) {
		jdbc.update("""
				INSERT INTO organization (tenant_id, id, name, run)
				VALUES (?, ?, ?, (SELECT run FROM resync WHERE (tenant_id, table_name) = (?, 'organization')))
				ON CONFLICT (tenant_id, id) DO UPDATE SET (name, run) = (excluded.name, excluded.run)
				""", row.tenant(), row.id(), row.name(), row.tenant());
	}

	/** False if its organization is not here. */
	public boolean store(Source.Member row) {
		return jdbc.update("""
				INSERT INTO member (tenant_id, id, organization_id, name, run)
				SELECT o.tenant_id, ?, o.id, ?, (SELECT run FROM resync WHERE (tenant_id, table_name) = (?, 'member'))
				FROM organization o WHERE (o.tenant_id, o.id) = (?, ?)
				ON CONFLICT (tenant_id, id) DO UPDATE
				SET (organization_id, name, run) = (excluded.organization_id, excluded.name, excluded.run)
				""", row.id(), row.name(), row.tenant(), row.tenant(), row.organization()) == 1;
	}

	public void delete(String table, String tenant, long id) {
		jdbc.update("DELETE FROM " + table + " WHERE (tenant_id, id) = (?, ?)", tenant, id);
	}

	public void deleteAll(String table, String tenant) {
		jdbc.update("DELETE FROM " + table + " WHERE tenant_id = ?", tenant);
	}

	/** Rows that are stored from now on are stored with this run. */
	public void startRun(String table, String tenant, String run) {
		jdbc.update("""
				INSERT INTO resync VALUES (?, ?, ?)
				ON CONFLICT (tenant_id, table_name) DO UPDATE SET run = excluded.run
				""", tenant, table, run);
	}

	/** After an event of this tenant that was not applied no run may take its row for one that is gone. */
	public void abandonRuns(String tenant) {
		jdbc.update("DELETE FROM resync WHERE tenant_id = ?", tenant);
	}

	/** Forgets the rows that the run has not published; does nothing if it is not the current one. */
	public void finishRun(String table, String tenant, String run) {
		int current = jdbc.update(
				"DELETE FROM resync WHERE (tenant_id, table_name, run) = (?, ?, ?)", tenant, table, run);
		if (current == 1)
			jdbc.update("DELETE FROM " + table + " WHERE tenant_id = ? AND run IS DISTINCT FROM ?", tenant, run);
	}
}
