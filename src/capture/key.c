/*
 * key.c
 *		Which columns identify the rows of a captured table.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "capture/key.h"
#include "compat.h"

/* ATTRIBUTE_GENERATED_VIRTUAL, which is there from 18 on */
#define GENERATED_VIRTUAL 'v'

/*
 * Fill in the columns of the primary key.  RelationGetPrimaryKeyIndex() is no
 * use: it passes over a deferrable key, and has other arguments in 18.
 */
static void
compile_key_columns(EvpubCapture *capture, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple;
		Form_pg_index index;

		tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary)
		{
			capture->key_columns = index->indnkeyatts;
			capture->key_column = palloc0(index->indnkeyatts *
										  sizeof(EvpubColumn));
			for (int i = 0; i < index->indnkeyatts; i++)
				evpub_column_init(&capture->key_column[i],
								  RelationGetDescr(rel),
								  index->indkey.values[i]);
		}
		ReleaseSysCache(tuple);
	}
	list_free(indexes);

	if (capture->key_columns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("cannot capture table \"%s\" without a primary key",
						RelationGetRelationName(rel)),
				 errdetail("An event names its row by the primary key."),
				 errhint("Add a primary key, or name key_columns.")));
}

bool
evpub_has_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return true;
	}
	return false;
}

/*
 * The column whose name is most like this one, or NULL: at most half of it may
 * differ, as in PostgreSQL's own hints.
 */
static const char *
nearest_column(TupleDesc desc, const char *name)
{
	const char *nearest = NULL;
	int			len = strlen(name);
	int			least = len / 2;

	if (len >= NAMEDATALEN)
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		const char *column = NameStr(TupleDescAttr(desc, i)->attname);
		int			distance;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		distance = varstr_levenshtein_less_equal(name, len, column, strlen(column),
												 1, 1, 1, least, true);
		if (distance > least || (nearest && distance == least))
			continue;
		nearest = column;
		least = distance;
	}
	return nearest;
}

/*
 * The column that an option names.  Triggers do not see the values of virtual
 * generated columns.
 */
AttrNumber
evpub_find_column(Relation rel, const char *name, const char *option)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *nearest;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		if (attribute->attgenerated == GENERATED_VIRTUAL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("virtual generated column \"%s\" of table \"%s\" cannot be named as %s",
							name, RelationGetRelationName(rel), option),
					 errdetail("Triggers do not see the values of virtual generated columns."),
					 errhint("Make it a stored generated column.")));
		return i + 1;
	}
	nearest = nearest_column(desc, name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist",
					name, RelationGetRelationName(rel)),
			 errdetail("It is named as %s.", option),
			 nearest ? errhint("Did you mean column \"%s\"?", nearest) :
			 errhint("Name columns of the table.")));
}

/* Columns that stand in for the primary key. */
static void
compile_named_key(EvpubCapture *capture, const EvpubOptions *options, Relation rel)
{
	List	   *names = evpub_options_list(options, EVPUB_OPTION_KEY_COLUMNS);
	ListCell   *cell;

	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_columns must not be empty"),
				 errhint("Name the columns that identify a row.")));
	capture->key_column = palloc0(list_length(names) * sizeof(EvpubColumn));
	foreach(cell, names)
	{
		AttrNumber	number = evpub_find_column(rel, lfirst(cell), "key_columns");

		if (!evpub_is_not_null(RelationGetDescr(rel), number))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of table \"%s\" may be null, and cannot be a key",
							(char *) lfirst(cell), RelationGetRelationName(rel)),
					 errhint("ALTER TABLE ... ALTER COLUMN ... SET NOT NULL first.")));
		evpub_column_init(&capture->key_column[capture->key_columns++],
						  RelationGetDescr(rel), number);
	}
}

/* A unique index on some of the key columns, and on all rows? */
static bool
index_is_within_key(const EvpubCapture *capture, Form_pg_index index, HeapTuple tuple)
{
	if (!index->indisunique || !index->indisvalid || !index->indisready ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		bool		found = false;

		for (int j = 0; j < capture->key_columns; j++)
			if (capture->key_column[j].number == index->indkey.values[i])
				found = true;
		if (!found)
			return false;
	}
	return true;
}

/* Is the index, or one that it is a part of, on the captured table? */
static bool
index_is_of_root(const EvpubCapture *capture, Oid index)
{
	ListCell   *cell;

	if (capture->relation == capture->root)
		return true;
	if (!get_rel_relispartition(index))
		return false;
	foreach(cell, get_partition_ancestors(index))
	{
		if (IndexGetRelation(lfirst_oid(cell), true) == capture->root)
			return true;
	}
	return false;
}

static void
compile_index(EvpubCapture *capture, Form_pg_index index)
{
	if (!index_is_of_root(capture, index->indexrelid))
	{
		/* ALTER INDEX ... ATTACH PARTITION says nothing to the table */
		capture->partition_indexes = lappend_oid(capture->partition_indexes,
												 index->indexrelid);
		return;
	}
	if (index->indimmediate)
		capture->key_is_unique = true;
	if (index->indimmediate || !OidIsValid(capture->key_index))
		capture->key_index = index->indexrelid;
}

/*
 * Is there never more than one row with these key columns?  An index says so if it
 * is unique, checked at once, and on the captured table: that of a partition alone
 * says nothing of the others.  The index is also needed to find rows by their key.
 * A deferrable one finds other rows that have the key meanwhile, and one that is
 * checked at once finds the row that took the place of another.
 */
static void
compile_uniqueness(EvpubCapture *capture, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index_is_within_key(capture, index, tuple))
			compile_index(capture, index);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
}

void
evpub_key_check_filter(const EvpubCapture *capture, Relation rel)
{
	if (!capture->has_filter || OidIsValid(capture->key_index))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot capture table \"%s\" with a filter", RelationGetRelationName(rel)),
			 errdetail("No unique index is on its key columns."),
			 errhint("Leave the filter out, or make the key columns unique.")));
}

void
evpub_key_compile(EvpubCapture *capture, const EvpubOptions *options, Relation rel)
{
	if (options->value[EVPUB_OPTION_KEY_COLUMNS] != NULL)
		compile_named_key(capture, options, rel);
	else
		compile_key_columns(capture, rel);
	compile_uniqueness(capture, rel);
}
