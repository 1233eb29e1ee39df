/*
 * event_position.c
 *		The message by which a primary's publisher tells standbys through WAL
 *		how far it has come.
 *
 * Layout: kind, version, two zero bytes, the fields in the order of
 * EvpubPositionMessage, the MAC.  It belongs to no database and to no
 * transaction, so the MAC is bound to 0 for both.
 */
#include "postgres.h"

#include "access/transam.h"

#include "event.h"

#define FIELDS_AT 4
#define MAC_AT (EVPUB_POSITION_LENGTH - EVPUB_MAC_LENGTH)

StaticAssertDecl(sizeof(EvpubPositionMessage) == MAC_AT - FIELDS_AT,
				 "position message must have no padding");

static void
position_mac(uint8 *dst, const char *data)
{
	evpub_mac(dst, InvalidOid, InvalidTransactionId, data, FIELDS_AT,
			  data + FIELDS_AT, MAC_AT - FIELDS_AT);
}

void
evpub_position_encode(char *dst, const EvpubPositionMessage *message)
{
	dst[0] = EVPUB_KIND_POSITION;
	dst[1] = EVPUB_FORMAT_VERSION;
	dst[2] = 0;
	dst[3] = 0;
	memcpy(dst + FIELDS_AT, message, sizeof(*message));
	position_mac((uint8 *) dst + MAC_AT, dst);
}

/* False for anything that our own encoder did not write. */
bool
evpub_position_decode(const char *data, Size len, EvpubPositionMessage *message)
{
	uint8		mac[EVPUB_MAC_LENGTH];

	if (len != EVPUB_POSITION_LENGTH ||
		data[0] != EVPUB_KIND_POSITION ||
		data[1] != EVPUB_FORMAT_VERSION)
		return false;
	position_mac(mac, data);
	if (!evpub_mac_equal(mac, (const uint8 *) data + MAC_AT))
		return false;
	memcpy(message, data + FIELDS_AT, sizeof(*message));
	return true;
}
