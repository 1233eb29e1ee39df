/*
 * positionmessage.c
 *		The message by which a publisher says in WAL how far it has come.
 *
 * Layout: kind, version, form (EvpubPositionForm), a zero byte, the MAC, and
 * the position as position_format.c writes it.
 *
 * The MAC is over all the rest.  It is bound to database 0 and to no
 * transaction.  Every record that a user can make bears the database of his
 * session, so a message that he copies is not accepted.  A message from elsewhere
 * in WAL, or from another server of the cluster, is recognized by what is in it:
 * its sequence must rise, and its lineage must be the reader's own.
 */
#include "postgres.h"

#include "access/transam.h"

#include "event/event.h"

#define HEADER_LENGTH 4
#define MAC_AT HEADER_LENGTH
#define BODY_AT EVPUB_POSITION_HEADER_LENGTH

StaticAssertDecl(BODY_AT == MAC_AT + EVPUB_MAC_LENGTH, "the body follows the MAC");

void
evpub_position_message_begin(StringInfo message, char form)
{
	char		header[BODY_AT] = {EVPUB_KIND_POSITION, EVPUB_POSITION_VERSION, form};

	resetStringInfo(message);
	appendBinaryStringInfo(message, header, sizeof(header));
}

void
evpub_position_message_finish(StringInfo message)
{
	evpub_mac((uint8 *) message->data + MAC_AT, InvalidOid, InvalidTransactionId,
			  message->data, HEADER_LENGTH,
			  message->data + BODY_AT, message->len - BODY_AT);
}

/* False for anything that was not finished above. */
bool
evpub_position_message_check(const char *data, Size len, char *form)
{
	uint8		mac[EVPUB_MAC_LENGTH];

	if (len < BODY_AT ||
		data[0] != EVPUB_KIND_POSITION ||
		data[1] != EVPUB_POSITION_VERSION)
		return false;
	evpub_mac(mac, InvalidOid, InvalidTransactionId, data, HEADER_LENGTH,
			  data + BODY_AT, len - BODY_AT);
	if (!evpub_mac_equal(mac, (const uint8 *) data + MAC_AT))
		return false;
	*form = data[2];
	return true;
}
