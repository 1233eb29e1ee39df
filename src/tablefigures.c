/*
 * tablefigures.c
 *		How many events were captured, by table and operation: view evpub.stat_tables.
 *
 * Each backend counts what it commits, because only it knows which table an event is
 * of: WAL has no room for that.  So an event counts when it is committed, also if it is
 * never published, and it does not count as published (that is in figures.c).
 *
 * A table is known by its OID.  When a table is dropped its place stays, until the
 * view is read in its database, or in any one after that was dropped.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "names.h"
#include "tablefigures.h"

typedef struct Key
{
	Oid			database;
	Oid			table;
} Key;

typedef struct Entry
{
	Key			key;
	pg_atomic_uint64 events[EVPUB_TABLE_OPS];
} Entry;

/* Besides the hash table. */
typedef struct State
{
	bool		loaded;			/* what was kept is read, or nothing of it is wanted */
	pg_atomic_uint64 changes;
} State;

static const Key others_key = {InvalidOid, InvalidOid};

static HTAB *tables = NULL;		/* NULL when not preloaded */
static State *state = NULL;
static LWLock *tables_lock = NULL;

Size
evpub_tablefigures_size(void)
{
	return add_size(MAXALIGN(sizeof(State)),
					hash_estimate_size(EVPUB_FIGURE_TABLES + 1, sizeof(Entry)));
}

void
evpub_tablefigures_attach(LWLock *lock)
{
	HASHCTL		info = {.keysize = sizeof(Key),.entrysize = sizeof(Entry)};
	bool		found;

	tables_lock = lock;
	state = ShmemInitStruct(EVPUB_NAME " tables", sizeof(State), &found);
	if (!found)
	{
		state->loaded = false;
		pg_atomic_init_u64(&state->changes, 0);
	}
	tables = ShmemInitHash(EVPUB_NAME " figures of tables", EVPUB_FIGURE_TABLES + 1,
						   EVPUB_FIGURE_TABLES + 1, &info, HASH_ELEM | HASH_BLOBS);
}

/* The place of a table, made if there is room, else that of all others.  Held: the lock. */
static Entry *
make_place(Key key)
{
	bool		found;
	Entry	   *entry = hash_search(tables, &key, HASH_FIND, NULL);

	if (entry != NULL)
		return entry;

	/* one place is for the others, and HASH_ENTER_NULL cannot fail below the maximum */
	if (key.table != InvalidOid && hash_get_num_entries(tables) >= EVPUB_FIGURE_TABLES)
		return make_place(others_key);
	entry = hash_search(tables, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL)
		for (int i = 0; i < EVPUB_TABLE_OPS; i++)
			pg_atomic_init_u64(&entry->events[i], 0);
	return entry;
}

/*
 * The place of a table, if it has one, or of the others, if it can have none any more.
 * Held: the lock, shared is enough.
 */
static Entry *
find_place(Key key)
{
	Entry	   *entry = hash_search(tables, &key, HASH_FIND, NULL);

	if (entry == NULL && hash_get_num_entries(tables) >= EVPUB_FIGURE_TABLES)
		entry = hash_search(tables, &others_key, HASH_FIND, NULL);
	return entry;
}

void
evpub_tablefigures_add(const EvpubTableCount *counts, int ncounts)
{
	LWLockMode	mode = LW_SHARED;

	if (tables == NULL || ncounts == 0)
		return;
	LWLockAcquire(tables_lock, mode);
	for (int i = 0; i < ncounts; i++)
	{
		Key			key = {MyDatabaseId, counts[i].table};
		Entry	   *entry = find_place(key);

		if (unlikely(entry == NULL))
		{
			/*
			 * Once for each table that gets a place, and once for the others; what is
			 * done in this mode is good in the other, too.
			 */
			if (mode == LW_SHARED)
			{
				LWLockRelease(tables_lock);
				mode = LW_EXCLUSIVE;
				LWLockAcquire(tables_lock, mode);
			}
			entry = make_place(key);
			if (entry == NULL)
				continue;
		}
		pg_atomic_fetch_add_u64(&entry->events[counts[i].op], counts[i].events);
	}
	pg_atomic_fetch_add_u64(&state->changes, 1);
	LWLockRelease(tables_lock);
}

EvpubTableFigures *
evpub_tablefigures_copy(int *count)
{
	EvpubTableFigures *copy;
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	*count = 0;
	if (tables == NULL)
		return NULL;
	copy = palloc(sizeof(EvpubTableFigures) * (EVPUB_FIGURE_TABLES + 1));
	LWLockAcquire(tables_lock, LW_SHARED);
	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		EvpubTableFigures *figures = &copy[(*count)++];

		figures->database = entry->key.database;
		figures->table = entry->key.table;
		for (int i = 0; i < EVPUB_TABLE_OPS; i++)
			figures->events[i] = pg_atomic_read_u64(&entry->events[i]);
	}
	LWLockRelease(tables_lock);
	return copy;
}

uint64
evpub_tablefigures_changes(void)
{
	return tables == NULL ? 0 : pg_atomic_read_u64(&state->changes);
}

void
evpub_tablefigures_load(const EvpubTableFigures *figures, int count)
{
	LWLockAcquire(tables_lock, LW_EXCLUSIVE);
	for (int i = 0; i < count && !state->loaded; i++)
	{
		Key			key = {figures[i].database, figures[i].table};
		Entry	   *entry = make_place(key);

		for (int op = 0; entry != NULL && op < EVPUB_TABLE_OPS; op++)
			pg_atomic_fetch_add_u64(&entry->events[op], figures[i].events[op]);
	}
	state->loaded = true;
	LWLockRelease(tables_lock);
}

/*
 * Whoever commits events of a table holds a lock on it until they are counted, and is
 * visible by then.  So a table that a newer snapshot does not show is in no such
 * transaction.  An exception is one that a prepared transaction has made: its figures
 * begin anew when that commits.
 */
void
evpub_tablefigures_forget(const EvpubTableFigures *figures, int count)
{
	LWLockAcquire(tables_lock, LW_EXCLUSIVE);
	for (int i = 0; i < count; i++)
	{
		Key			key = {figures[i].database, figures[i].table};

		(void) hash_search(tables, &key, HASH_REMOVE, NULL);
	}
	pg_atomic_fetch_add_u64(&state->changes, 1);
	LWLockRelease(tables_lock);
}

void
evpub_tablefigures_reset(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	LWLockAcquire(tables_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, tables);

	/* the entry that the scan is at may be removed */
	while ((entry = hash_seq_search(&scan)) != NULL)
		(void) hash_search(tables, &entry->key, HASH_REMOVE, NULL);
	state->loaded = true;
	pg_atomic_fetch_add_u64(&state->changes, 1);
	LWLockRelease(tables_lock);
}
