/*
 * figurefile.c
 *		The figures of views evpub.stat, stat_topics and stat_tables, in a file.
 *
 * Nothing depends on this file, so it is never flushed: the checksum tells when a
 * crash of the operating system has left a part of it.
 *
 * A base backup or another copy of the data directory has the file of the original.
 * What that has published is no figure of the copy, so the file says which directory it
 * was written in, as the state file does.
 *
 * Format: the inode of the directory, the number of tables, the totals and the tables as
 * they are in memory, and of each topic its counts as they are in memory and its name
 * with a NUL.
 */
#include "postgres.h"

#include "position/figurefile.h"

/* to be changed with EvpubFigureTotals, which has the causes in their order */
#define FIGURE_MAGIC "evpubfg3"

/* What all the rest comes after. */
typedef struct Head
{
	uint64		inode;
	uint64		ntables;
	EvpubFigureTotals totals;
} Head;

/* The most that there may be, when all places are taken. */
#define MOST (sizeof(Head) + (EVPUB_FIGURE_TABLES + 1) * sizeof(EvpubTableFigures) + \
			  EVPUB_FIGURE_TOPICS * sizeof(EvpubFigureTopic))

/* Is this what could be shown?  Names of topics are ASCII. */
static bool
makes_sense(const EvpubFigures *figures)
{
	const EvpubFigureTotals *totals = &figures->totals;

	for (int i = 0; i < figures->ntopics; i++)
		for (const char *c = figures->topics[i].name; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				return false;
	return totals->ncodes >= 0 && totals->ncodes <= EVPUB_FIGURE_CODES &&
		IS_VALID_TIMESTAMP(totals->reset_at);
}

static bool
parse_tables(EvpubFigureTables *tables, uint64 count, const char **at, const char *end)
{
	Size		bytes;

	if (count > EVPUB_FIGURE_TABLES + 1)
		return false;
	bytes = count * sizeof(EvpubTableFigures);
	if ((Size) (end - *at) < bytes)
		return false;
	tables->tables = palloc(bytes);
	tables->count = count;
	memcpy(tables->tables, *at, bytes);
	*at += bytes;
	return true;
}

static bool
parse(EvpubFigures *figures, EvpubFigureTables *tables, const Head *head,
	  const char *at, const char *end)
{
	figures->totals = head->totals;
	if (!parse_tables(tables, head->ntables, &at, end))
		return false;
	while (at < end)
	{
		EvpubFigureTopic *topic = &figures->topics[figures->ntopics];
		Size		length;

		if (figures->ntopics == EVPUB_FIGURE_TOPICS ||
			end - at < (ssize_t) sizeof(topic->counts))
			return false;
		memcpy(&topic->counts, at, sizeof(topic->counts));
		at += sizeof(topic->counts);
		length = strnlen(at, end - at);
		if (at + length == end || length == 0 || length >= sizeof(topic->name))
			return false;
		memcpy(topic->name, at, length + 1);
		at += length + 1;
		figures->ntopics++;
	}
	return makes_sense(figures);
}

EvpubCheckedfile
evpub_figurefile_read(EvpubFigures *figures, EvpubFigureTables *tables, char **problem)
{
	StringInfoData data;
	EvpubCheckedfile found = evpub_checkedfile_read(EVPUB_FIGURE_FILE, FIGURE_MAGIC,
													MOST, &data, problem);
	Head		head;
	const char *at;
	const char *end;

	memset(figures, 0, sizeof(*figures));
	memset(tables, 0, sizeof(*tables));
	if (found == EVPUB_CHECKEDFILE_ABSENT)
		*problem = NULL;
	if (found != EVPUB_CHECKEDFILE_FOUND)
		return found;
	at = data.data + data.cursor;
	end = data.data + data.len;
	if (end - at < (ssize_t) sizeof(head))
		*problem = psprintf("file \"%s\" is cut short", EVPUB_FIGURE_FILE);
	else
	{
		memcpy(&head, at, sizeof(head));
		if (head.inode == evpub_statefile_inode() &&
			!parse(figures, tables, &head, at + sizeof(head), end))
			*problem = psprintf("file \"%s\" has contents that make no sense",
								EVPUB_FIGURE_FILE);
	}
	pfree(data.data);
	if (*problem == NULL)
		return EVPUB_CHECKEDFILE_FOUND;
	memset(figures, 0, sizeof(*figures));
	tables->count = 0;
	return EVPUB_CHECKEDFILE_DAMAGED;
}

void
evpub_figurefile_write(const EvpubFigures *figures, const EvpubFigureTables *tables)
{
	StringInfoData data;
	Head		head;

	/* a server that has never published has no directory yet */
	evpub_statefile_make_directory();
	head.inode = evpub_statefile_inode();
	head.ntables = tables->count;
	head.totals = figures->totals;
	evpub_checkedfile_begin(&data, FIGURE_MAGIC);
	appendBinaryStringInfo(&data, (const char *) &head, sizeof(head));
	if (tables->count > 0)
		appendBinaryStringInfo(&data, (const char *) tables->tables,
							   tables->count * sizeof(EvpubTableFigures));
	for (int i = 0; i < figures->ntopics; i++)
	{
		const EvpubFigureTopic *topic = &figures->topics[i];

		appendBinaryStringInfo(&data, (const char *) &topic->counts, sizeof(topic->counts));
		appendBinaryStringInfo(&data, topic->name, strlen(topic->name) + 1);
	}
	evpub_checkedfile_write_unflushed(EVPUB_FIGURE_FILE, &data);
	pfree(data.data);
}
