package org.example.hr;

/** What the events of all tables have in common. */
public interface RowEvent extends Event {
	String tenant();

	Mark data();

	/** "created", "deleted" ...: the type without the table. */
	default String kind() {
		return type().substring(type().lastIndexOf('.') + 1);
	}

	/** Of resync_started and resync_finished: the call, and whether it publishes some rows only. */
	record Mark(String run, Boolean partial) {
		boolean whole() {
			return !Boolean.TRUE.equals(partial);
		}
	}
}
