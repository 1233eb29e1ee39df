/*
 * publish.c
 *		evpub.publish() and evpub.publish_raw(): events made by hand, in order
 *		with those of captured tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "capture/buffer.h"
#include "capture/compile.h"
#include "capture/headers.h"
#include "capture/intern.h"
#include "capture/render.h"
#include "capture/template.h"
#include "registration.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(evpub_publish);
PG_FUNCTION_INFO_V1(evpub_publish_raw);

/* ERROR where nothing can be written. */
static void
check_writable(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/*
 * May the event be made?  An event by hand locks no table, so nothing else
 * would keep DROP EXTENSION from committing before this transaction does; the
 * slot would go, and the event with it.  DROP EXTENSION locks the extension
 * exclusively, we lock it shared until the end of the transaction (a prepared
 * one keeps it), and only then ask whether the database is registered.  A
 * transaction that has events already holds this lock or one on a captured
 * table, which DROP EXTENSION CASCADE waits for.
 */
static bool
may_publish(void)
{
	if (!evpub_capture_enabled)
		return false;
	if (!evpub_buffer_in_use())
		LockDatabaseObject(ExtensionRelationId, get_extension_oid("evpub", false),
						   0, AccessShareLock);
	return evpub_database_registered();
}

static void
refuse_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s of an event must not be null", argument),
			 errhint("Give a value for argument \"%s\".", argument)));
}

static EvpubSlice
text_slice(Datum datum)
{
	text	   *value = DatumGetTextPP(datum);

	return evpub_utf8(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static EvpubSlice
jsonb_slice(Datum datum)
{
	Jsonb	   *value = DatumGetJsonbP(datum);
	char	   *json = JsonbToCString(NULL, &value->root, VARSIZE(value));

	return evpub_utf8(json, strlen(json));
}

/* The topic that evpub.default_topic gives for an event made by hand. */
static EvpubSlice
default_topic(EvpubSlice tenant, EvpubSlice type)
{
	EvpubPlaceholderValues values;
	EvpubTemplate template;
	StringInfoData topic;
	const char *source = evpub_compiled_default_topic();
	char	   *detail;

	if (!evpub_template_check(source, EVPUB_TEMPLATE_TOPIC_BY_HAND, &detail))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("evpub.default_topic \"%s\" gives no topic for an event that belongs to no table",
						source),
				 errdetail_internal("%s", detail),
				 errhint("Give argument \"topic\".")));

	values.text[EVPUB_PLACEHOLDER_DATABASE] = evpub_database_name();
	values.text[EVPUB_PLACEHOLDER_TENANT] = tenant;
	values.text[EVPUB_PLACEHOLDER_TYPE] = type;
	evpub_template_compile(&template, source, EVPUB_TEMPLATE_TOPIC_BY_HAND,
						   "evpub.default_topic", &values,
						   EVPUB_PLACEHOLDER_BIT(EVPUB_PLACEHOLDER_DATABASE));
	initStringInfo(&topic);
	evpub_template_render(&topic, &template, &values);
	return (EvpubSlice) {topic.data, topic.len};
}

static EvpubSlice
json_string(EvpubSlice text)
{
	StringInfoData json;

	initStringInfo(&json);
	evpub_json_string(&json, text);
	return (EvpubSlice) {json.data, json.len};
}

/* Order of arguments: type, tenant, pk, data, topic, key, headers. */
Datum
evpub_publish(PG_FUNCTION_ARGS)
{
	EvpubEvent	event = {.has_key = true,.has_value = true};
	EvpubSlice	type;
	EvpubSlice	tenant;
	EvpubSlice	topic;
	StringInfoData headers;

	initStringInfo(&headers);
	check_writable("evpub.publish()");
	if (PG_ARGISNULL(0))
		refuse_null("type");
	if (PG_ARGISNULL(1))
		refuse_null("tenant");

	type = text_slice(PG_GETARG_DATUM(0));
	tenant = text_slice(PG_GETARG_DATUM(1));
	topic = PG_ARGISNULL(4) ? default_topic(tenant, type) :
		text_slice(PG_GETARG_DATUM(4));
	evpub_topic_check(topic, InvalidOid, NULL);

	event.tenant = json_string(tenant);
	event.key = PG_ARGISNULL(5) ? tenant : text_slice(PG_GETARG_DATUM(5));
	event.body = PG_ARGISNULL(2) ? (EvpubSlice) {"null", 4} :
		jsonb_slice(PG_GETARG_DATUM(2));
	if (!PG_ARGISNULL(3))
	{
		EvpubSlice	data = jsonb_slice(PG_GETARG_DATUM(3));
		StringInfoData tail;

		initStringInfo(&tail);
		appendStringInfoString(&tail, ",\"data\":");
		appendBinaryStringInfo(&tail, data.data, data.len);
		event.tail = (EvpubSlice) {tail.data, tail.len};
	}
	if (!PG_ARGISNULL(6))
		evpub_headers_encode(&headers, PG_GETARG_DATUM(6));
	evpub_headers_add_extra(&headers);
	event.headers = (EvpubSlice) {headers.data, headers.len};

	if (may_publish())
	{
		EvpubRoute	route = {.envelope = EVPUB_ENVELOPE_PLAIN,.topic = topic,
		.type = json_string(type)};

		event.route = evpub_intern_route(&route);
		evpub_buffer_append(&event, EVPUB_BY_HAND, NULL, (EvpubSlice) {"", 0});
	}
	PG_RETURN_VOID();
}

/* Order of arguments: topic, key, value, headers. */
Datum
evpub_publish_raw(PG_FUNCTION_ARGS)
{
	EvpubEvent	event = {0};
	EvpubSlice	topic;
	StringInfoData headers;

	initStringInfo(&headers);
	check_writable("evpub.publish_raw()");
	if (PG_ARGISNULL(0))
		refuse_null("topic");

	topic = text_slice(PG_GETARG_DATUM(0));
	evpub_topic_check(topic, InvalidOid, NULL);
	if (!PG_ARGISNULL(1))
	{
		event.has_key = true;
		event.key = text_slice(PG_GETARG_DATUM(1));
	}
	if (!PG_ARGISNULL(2))
	{
		event.has_value = true;
		event.body = jsonb_slice(PG_GETARG_DATUM(2));
	}
	if (!PG_ARGISNULL(3))
		evpub_headers_encode(&headers, PG_GETARG_DATUM(3));
	evpub_headers_add_extra(&headers);
	event.headers = (EvpubSlice) {headers.data, headers.len};

	if (may_publish())
	{
		EvpubRoute	route = {.envelope = EVPUB_ENVELOPE_NONE,.topic = topic};

		event.route = evpub_intern_route(&route);
		evpub_buffer_append(&event, EVPUB_BY_HAND, NULL, (EvpubSlice) {"", 0});
	}
	PG_RETURN_VOID();
}
