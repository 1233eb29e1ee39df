/*
 * tablename.c
 *		A table's name as it stands in SQL.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "admin/tablename.h"

char *
evpub_qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (name == NULL || schema == NULL)
		return NULL;
	return quote_qualified_identifier(schema, name);
}
