/*
 * compare.c
 *		Which columns of a row did an update change?
 *
 * One value may lie in a row in several forms: with a header of one byte or of
 * four (the default of a column that was added later has the long one), as it
 * is or compressed, in the row or in the TOAST table, under a new pointer after
 * "SET x = x || ''".  Only where that leaves a doubt is TOAST read.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/datum.h"

#include "capture/compare.h"

typedef enum Sameness
{
	SAME,
	OTHER,
	TOASTED						/* cannot be decided without reading TOAST */
} Sameness;

static bool
is_toasted(Datum value)
{
	return VARATT_IS_EXTERNAL(DatumGetPointer(value)) ||
		VARATT_IS_COMPRESSED(DatumGetPointer(value));
}

static Sameness
compare_column(int i, TupleDesc desc, const TupleTableSlot *a, const TupleTableSlot *b)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, i);
	Datum		one = a->tts_values[i];
	Datum		two = b->tts_values[i];

	if (a->tts_isnull[i] || b->tts_isnull[i])
		return a->tts_isnull[i] && b->tts_isnull[i] ? SAME : OTHER;
	if (datumIsEqual(one, two, attribute->attbyval, attribute->attlen))
		return SAME;
	if (attribute->attlen != -1 || toast_raw_datum_size(one) != toast_raw_datum_size(two))
		return OTHER;
	if (is_toasted(one) || is_toasted(two))
		return TOASTED;
	return datum_image_eq(one, two, false, -1) ? SAME : OTHER;
}

static bool
same_toasted(int i, const TupleTableSlot *a, const TupleTableSlot *b)
{
	return datum_image_eq(a->tts_values[i], b->tts_values[i], false, -1);
}

bool
evpub_same_column(AttrNumber number, TupleDesc desc,
				  const TupleTableSlot *a, const TupleTableSlot *b)
{
	Sameness	sameness = compare_column(number - 1, desc, a, b);

	return sameness == TOASTED ? same_toasted(number - 1, a, b) : sameness == SAME;
}

bool
evpub_any_changed(TupleDesc desc, const bool *counts,
				  TupleTableSlot *old, TupleTableSlot *new)
{
	bool		any_toasted = false;

	slot_getallattrs(old);
	slot_getallattrs(new);
	for (int i = 0; i < desc->natts; i++)
	{
		Sameness	sameness;

		if ((counts != NULL && !counts[i]) || TupleDescAttr(desc, i)->attisdropped)
			continue;
		sameness = compare_column(i, desc, old, new);
		if (sameness == OTHER)
			return true;
		any_toasted |= sameness == TOASTED;
	}

	/* a value that is large and of the same length, and nothing else */
	for (int i = 0; any_toasted && i < desc->natts; i++)
	{
		if ((counts == NULL || counts[i]) && !TupleDescAttr(desc, i)->attisdropped &&
			!evpub_same_column(i + 1, desc, old, new))
			return true;
	}
	return false;
}
