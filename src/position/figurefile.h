/*
 * figurefile.h
 *		The figures of views evpub.stat, stat_topics and stat_tables, in a file.
 */
#ifndef EVPUB_FIGUREFILE_H
#define EVPUB_FIGUREFILE_H

#include "postgres.h"

#include "figures.h"
#include "position/checkedfile.h"
#include "position/statefile.h"
#include "tablefigures.h"

#define EVPUB_FIGURE_FILE EVPUB_STATE_DIRECTORY "/figures"

/* Figures of tables, of all databases. */
typedef struct EvpubFigureTables
{
	EvpubTableFigures *tables;
	int			count;
} EvpubFigureTables;

/*
 * Read totals, topics and tables, these into memory of the current context; all else in
 * *figures becomes zero, and all does unless the file was found and is of this server.
 * *problem says what is wrong with one that cannot be used.
 */
extern EvpubCheckedfile evpub_figurefile_read(EvpubFigures *figures,
											  EvpubFigureTables *tables, char **problem);

/*
 * Replace the file, without a flush: a crash of the server leaves the new one or the
 * old one, and one of the operating system may leave one that cannot be used.
 * ERROR if it cannot be written.
 */
extern void evpub_figurefile_write(const EvpubFigures *figures,
								   const EvpubFigureTables *tables);

#endif							/* EVPUB_FIGUREFILE_H */
