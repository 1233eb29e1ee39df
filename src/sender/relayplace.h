/*
 * relayplace.h
 *		Finds the file of the program evpub-relay.
 */
#ifndef EVPUB_RELAYPLACE_H
#define EVPUB_RELAYPLACE_H

#include "postgres.h"

#define EVPUB_RELAY_PLACE_HINT \
	"Install evpub's program evpub-relay beside the server's programs, or set evpub.relay_program to its path."

/*
 * Puts the program's absolute path into "path" (MAXPGPATH bytes).  If there is
 * none, it is the path where it would be found first.
 */
extern void evpub_relay_place(char *path);

#endif							/* EVPUB_RELAYPLACE_H */
