/*
 * optionlist.h
 *		The options of a captured table, each of them once.
 *
 * EVPUB_OPTION(symbol, name, kind, value, choices, comment):
 *
 * "name" is that of the argument of capture_table() and capture_schemas() and of
 * the column of evpub.tables; "value" what the option is unless it is given, NULL
 * for none; "choices" the words that it takes, with commas between them, NULL
 * where it is free; "comment" the one of its column.  The order is that of the
 * arguments.  From AS on, options are only in arguments of triggers.
 *
 * Whoever includes this file defines EVPUB_OPTION, and undefines it.
 */

/* deliberately without a guard */

EVPUB_OPTION(TOPIC, "topic", TEMPLATE, NULL, NULL,
			 "template of the topic; that of evpub.default_topic where none is given")
EVPUB_OPTION(TENANT_COLUMN, "tenant_column", NAME, NULL, NULL,
			 "column that names the tenant")
EVPUB_OPTION(TENANT, "tenant", TEMPLATE, NULL, NULL,
			 "template of the tenant; with tenant_column, of rows where that is null")
EVPUB_OPTION(KEY, "key", TEMPLATE, "{tenant}", NULL,
			 "template of the message key")
EVPUB_OPTION(TYPE, "type", TEMPLATE, "{table}.{event}", NULL,
			 "template of the event type")
EVPUB_OPTION(OPERATIONS, "operations", WORDS, "insert,update,delete,truncate",
			 "insert,update,delete,truncate",
			 "statements that make events")
EVPUB_OPTION(UPDATE_COLUMNS, "update_columns", NAMES, NULL, NULL,
			 "an UPDATE makes an event only if it changes one of these columns")
EVPUB_OPTION(IGNORE_COLUMNS, "ignore_columns", NAMES, NULL, NULL,
			 "an UPDATE that changes only these columns makes no event")
EVPUB_OPTION(FILTER, "filter", TEXT, NULL, NULL,
			 "condition on {row}; rows that do not meet it are not there for consumers")
EVPUB_OPTION(PAYLOAD, "payload", WORD, "key", "key,changed_columns,row",
			 "what the event has beside the primary key")
EVPUB_OPTION(DATA_COLUMNS, "data_columns", NAMES, NULL, NULL,
			 "columns whose values are in the event's data")
EVPUB_OPTION(HEADERS, "headers", HEADERS, NULL, NULL,
			 "Kafka headers; values are templates")
EVPUB_OPTION(ENVELOPE, "envelope", WORD, "plain",
			 "plain,cloudevents,cloudevents_binary,none",
			 "form of the message")
EVPUB_OPTION(KEY_COLUMNS, "key_columns", NAMES, NULL, NULL,
			 "columns that name a row, instead of the primary key")
EVPUB_OPTION(ON_TRUNCATE, "on_truncate", WORD, NULL, "per_tenant,error,ignore",
			 "what TRUNCATE does: an event for each tenant that had rows, an error, or nothing")
EVPUB_OPTION(ON_DELETE, "on_delete", WORD, "event", "event,tombstone",
			 "what a deleted row becomes: an event, or a message without a value")
EVPUB_OPTION(COLLAPSE, "collapse", BOOL, "true", NULL,
			 "true: changes of a row in one transaction become one event")

/*
 * Whether triggers fire for rows that logical replication applies.  What makes them
 * fire is in pg_trigger, and ENABLE TRIGGER ALL takes it back; dumps made with
 * --disable-triggers end with that.  So check() compares the two.
 */
EVPUB_OPTION(ON_REPLICA, "on_replica", BOOL, "false", NULL,
			 "true: rows that logical replication applies make events, too")

/*
 * What the trigger makes of an update that crosses the filter: "created" or
 * "deleted".  "moved": the trigger is for rows that change their partition, and
 * publishes nothing else.
 */
EVPUB_OPTION(AS, "as", WORD, NULL, "created,deleted,moved", NULL)
