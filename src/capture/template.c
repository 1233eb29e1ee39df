/*
 * template.c
 *		Compiling and filling templates such as '{tenant}/{table}/{pk}'.
 *
 * There is one parser; it reports instead of throwing, because the check hook
 * of evpub.default_topic must not throw.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "capture/render.h"
#include "capture/template.h"
#include "settings.h"

/* Kafka's own limit on the name of a topic */
#define MAX_TOPIC_LENGTH 249

#define BIT EVPUB_PLACEHOLDER_BIT

static const char *const placeholder_names[EVPUB_PLACEHOLDERS] = {
	[EVPUB_PLACEHOLDER_DATABASE] = "database",
	[EVPUB_PLACEHOLDER_SCHEMA] = "schema",
	[EVPUB_PLACEHOLDER_TABLE] = "table",
	[EVPUB_PLACEHOLDER_TENANT] = "tenant",
	[EVPUB_PLACEHOLDER_PK] = "pk",
	[EVPUB_PLACEHOLDER_OP] = "op",
	[EVPUB_PLACEHOLDER_EVENT] = "event",
	[EVPUB_PLACEHOLDER_TYPE] = "type",
};

#define NAMES (BIT(EVPUB_PLACEHOLDER_DATABASE) | BIT(EVPUB_PLACEHOLDER_SCHEMA) | \
			   BIT(EVPUB_PLACEHOLDER_TABLE))
#define ALL ((1u << EVPUB_PLACEHOLDERS) - 1)

/* A tenant does not depend on the operation; nothing holds itself. */
static const uint32 allowed_placeholders[] = {
	[EVPUB_TEMPLATE_TOPIC] = ALL,
	[EVPUB_TEMPLATE_TENANT] = NAMES,
	[EVPUB_TEMPLATE_KEY] = ALL,
	[EVPUB_TEMPLATE_TYPE] = ALL & ~BIT(EVPUB_PLACEHOLDER_TYPE),
	[EVPUB_TEMPLATE_TOPIC_BY_HAND] = BIT(EVPUB_PLACEHOLDER_DATABASE) |
	BIT(EVPUB_PLACEHOLDER_TENANT) | BIT(EVPUB_PLACEHOLDER_TYPE),
};

/* A piece of the source: a run of text, or one placeholder. */
typedef struct Piece
{
	EvpubPlaceholder placeholder;
	const char *text;			/* of EVPUB_PLACEHOLDER_TEXT: one run, not ending at NUL */
	int			len;
} Piece;

/* "{database}, {schema}": what a use allows, for messages. */
static char *
list_placeholders(EvpubTemplateUse use)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < EVPUB_PLACEHOLDERS; i++)
	{
		if (allowed_placeholders[use] & BIT(i))
			appendStringInfo(&list, "%s{%s}", list.len > 0 ? ", " : "",
							 placeholder_names[i]);
	}
	return list.data;
}

/*
 * Read the placeholder at *cursor, which stands behind its opening brace.
 * False sets *detail.
 */
static bool
parse_placeholder(const char **cursor, EvpubTemplateUse use, Piece *piece,
			char **detail)
{
	const char *name = *cursor;
	const char *end = strpbrk(name, "{}");
	int			len;

	if (end == NULL || *end != '}')
	{
		*detail = psprintf("A brace is not closed: \"{%s\"; a brace that stands for itself is written twice.",
						   name);
		return false;
	}
	len = end - name;
	*cursor = end + 1;

	for (int i = 0; i < EVPUB_PLACEHOLDERS; i++)
	{
		if (strlen(placeholder_names[i]) != (size_t) len ||
			strncmp(placeholder_names[i], name, len) != 0)
			continue;
		if (!(allowed_placeholders[use] & BIT(i)))
		{
			*detail = psprintf("Placeholder {%s} is not available here; there are %s.",
							   placeholder_names[i], list_placeholders(use));
			return false;
		}
		piece->placeholder = (EvpubPlaceholder) i;
		return true;
	}
	if (len == 5 && strncmp(name, "match", 5) == 0)
		*detail = pstrdup("Placeholder {match} has a value only in evpub.capture_schemas().");
	else
		*detail = psprintf("Placeholder {%.*s} is unknown; there are %s.",
						   len, name, list_placeholders(use));
	return false;
}

/*
 * Read the next piece at *cursor.  False at the end (then *detail is NULL),
 * or if the template is wrong.
 */
static bool
next_piece(const char **cursor, EvpubTemplateUse use, Piece *piece,
		   char **detail)
{
	const char *p = *cursor;

	*detail = NULL;
	if (*p == '\0')
		return false;

	piece->placeholder = EVPUB_PLACEHOLDER_TEXT;
	piece->text = p;
	if (*p == '{' || *p == '}')
	{
		if (p[1] == p[0])
		{
			piece->len = 1;
			*cursor = p + 2;
			return true;
		}
		if (*p == '}')
		{
			*detail = psprintf("A brace is not opened: \"%s\"; a brace that stands for itself is written twice.",
							   p);
			return false;
		}
		*cursor = p + 1;
		return parse_placeholder(cursor, use, piece, detail);
	}
	piece->len = strcspn(p, "{}");
	*cursor = p + piece->len;
	return true;
}

static bool
is_topic_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* What is wrong with a topic's name or a part of it; NULL if nothing. */
static const char *
topic_fault(const char *data, Size len, bool whole)
{
	for (Size i = 0; i < len; i++)
	{
		if (!is_topic_byte(data[i]))
			return "The name of a topic consists of letters a to z and A to Z, digits, \".\", \"_\" and \"-\".";
	}
	if (len > MAX_TOPIC_LENGTH)
		return "The name of a topic has at most 249 characters.";
	if (whole && len == 0)
		return "The name of a topic has at least one character.";
	if (whole && (len == 1 || len == 2) && strncmp(data, "..", len) == 0)
		return "The names \".\" and \"..\" are not allowed for a topic.";
	return NULL;
}

static bool
is_topic(EvpubTemplateUse use)
{
	return use == EVPUB_TEMPLATE_TOPIC || use == EVPUB_TEMPLATE_TOPIC_BY_HAND;
}

bool
evpub_template_check(const char *source, EvpubTemplateUse use, char **detail)
{
	const char *cursor = source;
	const char *fault = NULL;
	bool		constant = true;
	Size		len = 0;
	Piece		piece;

	while (next_piece(&cursor, use, &piece, detail))
	{
		if (piece.placeholder != EVPUB_PLACEHOLDER_TEXT)
		{
			constant = false;
			continue;
		}
		len += piece.len;
		if (is_topic(use) && fault == NULL)
			fault = topic_fault(piece.text, piece.len, false);
	}
	if (*detail != NULL)
		return false;
	if (is_topic(use) && fault == NULL)
	{
		if (len > MAX_TOPIC_LENGTH)
			fault = "The name of a topic has at most 249 characters.";
		else if (constant)
			fault = topic_fault(source, len, true);
	}
	if (fault != NULL)
	{
		*detail = pstrdup(fault);
		return false;
	}
	return true;
}

/* Text (UTF-8) as it stands in a message, of which no more is worth reading. */
static const char *
in_message(EvpubSlice text)
{
	int			len = pg_encoding_mbcliplen(PG_UTF8, text.data, text.len, 1024);

	return pg_any_to_server(pnstrdup(text.data, len), len, PG_UTF8);
}

/* Append text (UTF-8) to the last segment, or as a new one. */
static void
add_text(EvpubTemplate *dst, const char *data, int len)
{
	EvpubSegment *last = dst->count > 0 ? &dst->segments[dst->count - 1] : NULL;
	uint32		before;
	char	   *joined;

	if (last == NULL || last->placeholder != EVPUB_PLACEHOLDER_TEXT)
	{
		last = &dst->segments[dst->count++];
		last->placeholder = EVPUB_PLACEHOLDER_TEXT;
		last->text.data = "";
		last->text.len = 0;
	}
	before = last->text.len;
	joined = palloc(before + len + 1);
	memcpy(joined, last->text.data, before);
	memcpy(joined + before, data, len);
	last->text.data = joined;
	last->text.len = before + len;
}

void
evpub_template_compile(EvpubTemplate *dst, const char *source,
					   EvpubTemplateUse use, const char *option,
					   const EvpubPlaceholderValues *constants, uint32 known)
{
	const char *cursor = source;
	char	   *detail;
	Piece		piece;

	dst->count = 0;
	dst->placeholders = 0;
	dst->named = 0;
	/* a segment takes at least one byte of the source */
	dst->segments = palloc((strlen(source) + 1) * sizeof(EvpubSegment));

	while (next_piece(&cursor, use, &piece, &detail))
	{
		if (piece.placeholder == EVPUB_PLACEHOLDER_TEXT)
		{
			EvpubSlice	text = evpub_utf8(pnstrdup(piece.text, piece.len),
										  piece.len);

			add_text(dst, text.data, text.len);
			continue;
		}
		dst->named |= BIT(piece.placeholder);
		if (known & BIT(piece.placeholder))
		{
			/* only the database's name can be missing */
			if (constants->text[piece.placeholder].data == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
						 errmsg("the name of the database cannot stand in an event"),
						 errdetail("Template \"%s\" for %s holds {database}, and the name is not valid in the encoding of the database (%s).",
								   source, option, GetDatabaseEncodingName()),
						 errhint("Write a name instead of {database}, or rename the database.")));
			add_text(dst, constants->text[piece.placeholder].data,
					 constants->text[piece.placeholder].len);
		}
		else
		{
			dst->segments[dst->count++].placeholder = piece.placeholder;
			dst->placeholders |= BIT(piece.placeholder);
		}
	}
	if (detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid template for %s: \"%s\"", option, source),
				 errdetail_internal("%s", detail),
				 strstr(detail, "is unknown") == NULL ? 0 :
				 errhint("Placeholders are not names of columns. The value of tenant_column stands in {tenant}, those of the key in {pk}.")));

	if (!is_topic(use))
		return;
	for (int i = 0; i < dst->count; i++)
	{
		EvpubSegment *segment = &dst->segments[i];
		const char *fault;

		if (segment->placeholder != EVPUB_PLACEHOLDER_TEXT)
			continue;
		fault = topic_fault(segment->text.data, segment->text.len, false);
		if (fault != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("invalid template for %s: \"%s\"", option, source),
					 errdetail_internal("%s", fault),
					 errhint("Choose another topic; here the template gives \"%s\".",
							 in_message(segment->text))));
	}
}

bool
evpub_template_is_placeholder(const char *name)
{
	for (int i = 0; i < EVPUB_PLACEHOLDERS; i++)
	{
		if (strcmp(placeholder_names[i], name) == 0)
			return true;
	}
	return false;
}

char *
evpub_template_replace(const char *source, const char *placeholder,
					   const char *replacement)
{
	StringInfoData result;

	initStringInfo(&result);
	while (*source)
	{
		if (strncmp(source, "{{", 2) == 0)
		{
			appendStringInfoString(&result, "{{");
			source += 2;
		}
		else if (strncmp(source, placeholder, strlen(placeholder)) == 0)
		{
			appendStringInfoString(&result, replacement);
			source += strlen(placeholder);
		}
		else
			appendStringInfoChar(&result, *source++);
	}
	return result.data;
}

void
evpub_template_render(StringInfo dst, const EvpubTemplate *src,
					  const EvpubPlaceholderValues *values)
{
	for (int i = 0; i < src->count; i++)
	{
		const EvpubSegment *segment = &src->segments[i];
		const EvpubSlice *text = segment->placeholder == EVPUB_PLACEHOLDER_TEXT ?
			&segment->text : &values->text[segment->placeholder];

		appendBinaryStringInfo(dst, text->data, text->len);
	}
}

/* The whole name is to match, not a part of it. */
static char *
whole_pattern(const char *pattern)
{
	return psprintf("^(?:%s)$", pattern);
}

bool
evpub_topic_pattern_check(const char *pattern, char **detail)
{
	char	   *whole = whole_pattern(pattern);
	int			len = strlen(whole);
	pg_wchar   *wide = palloc((len + 1) * sizeof(pg_wchar));
	char		message[100];
	regex_t		compiled;
	int			result;

	len = pg_mb2wchar_with_len(whole, wide, len);
	result = pg_regcomp(&compiled, wide, len, REG_ADVANCED, C_COLLATION_OID);
	pfree(wide);
	if (result == REG_OKAY)
	{
		pg_regfree(&compiled);
		return true;
	}
	pg_regerror(result, &compiled, message, sizeof(message));
	*detail = pstrdup(message);
	return false;
}

/* Which table and template an illegal topic comes from, as a sentence. */
static const char *
made_from(Oid table, const char *source)
{
	const char *name = OidIsValid(table) ? get_rel_name(table) : NULL;

	return name == NULL ? "" :
		psprintf("Template \"%s\" for the topic of table \"%s\" gives it. ", source, name);
}

/* evpub.allowed_topics; the name is ASCII by now. */
static void
check_allowed(EvpubSlice topic, Oid table, const char *source)
{
	if (evpub_allowed_topics == NULL || strcmp(evpub_allowed_topics, ".*") == 0)
		return;
	if (!RE_compile_and_execute(cstring_to_text(whole_pattern(evpub_allowed_topics)),
								unconstify(char *, topic.data), topic.len,
								REG_ADVANCED, C_COLLATION_OID, 0, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("topic \"%.*s\" is not allowed", (int) topic.len, topic.data),
				 errdetail("%sIt does not match evpub.allowed_topics (\"%s\").",
						   made_from(table, source), evpub_allowed_topics),
				 errhint("Use another topic, or ask an administrator to allow it.")));
}

void
evpub_topic_check(EvpubSlice topic, Oid table, const char *source)
{
	const char *fault = topic_fault(topic.data, topic.len, true);

	if (unlikely(fault != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid topic name \"%s\"",
						in_message(topic)),
				 errdetail("%s%s", made_from(table, source), fault),
				 errhint("%s", OidIsValid(table) ?
						 "Capture the table with another topic; what has no place in a name, such as {tenant} or {pk}, can be the key." :
						 "Choose another topic.")));
	check_allowed(topic, table, source);
}
