/*
 * tenants.h
 *		Tenants that were met, and events that are of a tenant as a whole.
 */
#ifndef EVPUB_CAPTURE_TENANTS_H
#define EVPUB_CAPTURE_TENANTS_H

#include "capture/capture.h"
#include "capture/row.h"

typedef struct EvpubTenants EvpubTenants;

/* An empty set, in the current context, which the names are copied into, too. */
extern EvpubTenants *evpub_tenants_create(void);
extern uint32 evpub_tenants_count(const EvpubTenants *set);

/* The copy of a name that was not in the set, or NULL. */
extern const EvpubSlice *evpub_tenants_add(EvpubTenants *set, EvpubSlice name);

/* The copies, sorted by bytes: EvpubSlice *.  None can be added then. */
extern List *evpub_tenants_sorted(EvpubTenants *set);

/* Make an event of all rows of a tenant; data_json may be empty. */
extern void evpub_tenant_event(EvpubCapture *capture, EvpubChangeKind kind,
							   EvpubSlice tenant, EvpubSlice data_json);

#endif							/* EVPUB_CAPTURE_TENANTS_H */
